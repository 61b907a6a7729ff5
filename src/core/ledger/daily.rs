//! Daily pools: when they are filled again, what the server says of them, and how they are spent.

use std::time::{Duration, SystemTime};

use super::{Ledger, Permit};
use crate::core::keys::Keys;
use crate::core::notice::{Event, Notice};
use crate::core::place::{CellId, Place, Subject};
use crate::core::pool::{LONGEST_DAY, Lesson};
use crate::core::tick::{Now, Tick};
use crate::error::ConfigError;

/// A figure that somebody has asked for may be this old: it is not counted with every request, and HubSpot's is cached.
const OLDEST_FIGURE: Duration = Duration::from_secs(5 * 60);

impl Ledger {
    /// When the daily pool `limit` of these keys is filled again; `None` when it is no daily pool.
    pub fn next_reset(&mut self, now: Now, keys: Keys, limit: usize) -> Option<Tick> {
        let now = self.advance(now);
        let zone = self.table.day(limit).ok()?.zone.clone();
        let Some(id) = self
            .place(Subject::Limit(limit))
            .and_then(|place| self.table.find(place, &keys))
        else {
            return Some(now.tick_of(zone.next_reset(now.wall)));
        };
        let (cell, kind) = self.table.cell_mut(id);
        cell.expire(now, kind);
        cell.pool(kind).map(|(pool, _)| pool.reset_tick(now))
    }

    /// Somebody knows when the daily pool `limit` of these keys is filled again next: the server has said so, say. From there on its
    /// zone tells; where that is [unknown](crate::plan::Zone::UNKNOWN), it is filled every 24 h, and its requests are counted
    /// from now on until nobody has used it for a whole day.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when there is no such daily pool, or `reset` is in the past or more than 25 h away.
    pub fn set_next_reset(
        &mut self,
        now: Now,
        keys: Keys,
        limit: usize,
        reset: SystemTime,
    ) -> Result<(), ConfigError> {
        let now = self.advance(now);
        self.table.day(limit)?;
        match reset.duration_since(now.wall) {
            Ok(wait) if !wait.is_zero() && wait <= LONGEST_DAY => {}
            Ok(wait) if wait > LONGEST_DAY => {
                let problem = format!("must be within 25 h, is {} s away", wait.as_secs());
                return Err(ConfigError::new("next reset", problem));
            }
            _ => return Err(ConfigError::new("next reset", "must be in the future")),
        }
        let Some(place) = self.place(Subject::Limit(limit)) else {
            return Ok(());
        };
        let id = self.table.open(place, &keys);
        let (cell, kind) = self.table.cell_mut(id);
        cell.expire(now, kind);
        if let Some((pool, day)) = cell.pool(kind) {
            pool.tell_reset(now, day, reset);
        }
        self.end_pause_by(now.tick_of(reset), id);
        if let Some(gate) = self.gate_of(limit, &keys) {
            self.end_pause_by(now.tick_of(reset), gate);
        }
        self.pump(now, None);
        Ok(())
    }

    /// The pause of those who need no slot of this limit.
    fn gate_of(&self, limit: usize, keys: &Keys) -> Option<CellId> {
        let limit = u8::try_from(limit).ok()?;
        self.table.find(Place::PauseOf(limit), keys)
    }

    fn end_pause_by(&mut self, until: Tick, id: CellId) {
        self.table.cell_mut(id).0.shorten_pause(until);
        self.dirty.push(id);
        self.changed.push(id);
    }

    /// Whether requests of [`Lane::Bulk`](crate::plan::Lane::Bulk) are spread over the rest of the day, for all keys: after each of
    /// them the next one waits for the time to the reset, divided by the number of those that may still go. Off at first.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when there is no such daily pool.
    pub fn set_pace(&mut self, now: Now, limit: usize, paced: bool) -> Result<(), ConfigError> {
        let now = self.advance(now);
        self.table.set_pace(limit, paced)?;
        self.limit_changed(now, limit);
        Ok(())
    }

    /// The response to the request of `permit` says how many requests the daily pool `limit` holds, and how many are left. Tell it
    /// before the permit is settled. What is impossible is not believed; what is of yesterday is not taken for today.
    ///
    /// Gives until when to [pause](Self::pause) the limit, where it is empty and its zone unknown.
    pub fn observe_daily(
        &mut self,
        now: Now,
        permit: &Permit,
        limit: usize,
        quota: Option<u64>,
        remaining: Option<u64>,
    ) -> Option<Tick> {
        let now = self.advance(now);
        let Place::Limit(limit) = self.place(Subject::Limit(limit))? else {
            return None;
        };
        let is_it = |id: &CellId| self.table.cell(*id).place == Place::Limit(limit);
        let id = permit.cells.iter().find(is_it)?;
        self.learn(now, id, permit.began(), quota, remaining)
    }

    /// Somebody has asked the server how many requests the daily pool `limit` of these keys holds, and how many have been used. That
    /// may be five minutes old, so that it gives nothing back of what has been heard or counted since, and what is told in the
    /// first ten minutes of a day may be passed over.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when there is no such daily pool.
    pub fn observe_daily_usage(
        &mut self,
        now: Now,
        keys: Keys,
        limit: usize,
        quota: u64,
        used: u64,
    ) -> Result<(), ConfigError> {
        let now = self.advance(now);
        self.table.day(limit)?;
        if let Some(place) = self.place(Subject::Limit(limit)) {
            let id = self.table.open(place, &keys);
            let left = quota.saturating_sub(used);
            let counted = now.tick.before(OLDEST_FIGURE);
            self.learn(now, id, counted, Some(quota), Some(left));
            self.pump(now, None);
        }
        Ok(())
    }

    fn learn(
        &mut self,
        now: Now,
        id: CellId,
        sent: Tick,
        quota: Option<u64>,
        remaining: Option<u64>,
    ) -> Option<Tick> {
        let (cell, kind) = self.table.cell_mut(id);
        cell.expire(now, kind);
        let (pool, day) = cell.pool(kind)?;
        let planned = day.quota;
        let Lesson {
            quota,
            exhausted,
            pause,
        } = pool.observe(now, sent, day, quota, remaining);
        let place = cell.place;
        if let (Some((pool, day)), Some(left)) = (cell.pool(kind), remaining) {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let used = pool.quota(day).saturating_sub(left);
            let is_of_today = pool.is_of_today(sent);
            if let Some(lease) = cell.lease.as_mut().filter(|_| is_of_today) {
                lease.tell_use(now.tick, used, sent);
            }
        }
        if cell.waiting() > 0 {
            self.dirty.push(id);
            self.changed.push(id);
        }
        let claims = match place {
            Place::Limit(limit) => self.table.claims_mut(usize::from(limit)),
            _ => None,
        };
        let is_new = claims.is_some_and(|claims| claims.hear(quota, None, planned));
        let learned = quota.filter(|_| is_new);
        let learned = learned.map(|quota| Event::Learned { quota });
        let exhausted = exhausted.map(|lasts| Event::Exhausted { lasts });
        self.tell(id, [learned, exhausted]);
        pause
    }

    /// The server has refused a request that was sent at `sent`, because the daily pool `limit` is empty. Gives until when to
    /// [pause](Self::pause) it: until its reset, or until `retry_after` has passed if that is earlier. Gives nothing when there is no
    /// such pool, or when the request was of yesterday.
    pub fn exhaust(
        &mut self,
        now: Now,
        keys: Keys,
        limit: usize,
        sent: Tick,
        retry_after: Option<Duration>,
    ) -> Option<Tick> {
        let now = self.advance(now);
        self.table.day(limit).ok()?;
        let id = self.table.open(self.place(Subject::Limit(limit))?, &keys);
        let (cell, kind) = self.table.cell_mut(id);
        cell.expire(now, kind);
        let (pool, day) = cell.pool(kind)?;
        let (lasts, is_news) = pool.exhaust(now, day, sent, retry_after)?;
        self.tell(id, [is_news.then_some(Event::Exhausted { lasts })]);
        Some(now.tick.after(lasts))
    }

    fn tell(&mut self, id: CellId, events: impl IntoIterator<Item = Option<Event>>) {
        let cell = self.table.cell(id);
        if let Place::Limit(limit) = cell.place {
            let events = events.into_iter().flatten();
            self.news
                .extend(events.map(|event| Notice::new(limit, cell.key, event)));
        }
    }
}
