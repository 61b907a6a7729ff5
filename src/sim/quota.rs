//! The enforcer: who asks, which limits apply, and what the headers say about them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::json;

use super::answer::Reply;
use super::config::Tokens;
use super::day::{Pool, iso, offset_name};
use super::limits::Limits;
use super::others::{Others, Stream};
use super::routes::Class;
use super::window::{Rule, Window, Windows};

/// Whose request it is.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) token: Arc<str>,
    pub(super) app: usize,
    pub(super) account: usize,
}

/// Which limit refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The window of the request's class.
    Window,
    Daily,
}

/// What the headers say, as of the moment of counting.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    /// The general window and what remained of it; only where that window applies.
    pub(super) burst: Option<(Rule, u64)>,
    /// The daily pool and what remained of it.
    pub(super) daily: Option<(u64, u64)>,
}

/// An application in an account: the scope of the burst.
#[derive(Debug)]
struct App {
    id: u64,
    burst: Option<Window>,
    associations: Option<Window>,
    /// Requests that are being worked on.
    in_work: u64,
}

#[derive(Debug)]
struct Account {
    id: u64,
    search: Option<Window>,
    daily: Option<Pool>,
}

/// A request of somebody else that was due.
pub(super) struct Foreign {
    pub(super) at: Duration,
    pub(super) class: Class,
    pub(super) counted: bool,
    pub(super) account: u64,
    pub(super) app: u64,
}

#[derive(Debug)]
pub(super) struct Enforcer {
    limits: Limits,
    names: Tokens,
    others: Vec<Others>,
    /// Wall clock at time zero.
    origin: SystemTime,
    shift: Duration,
    seed: u64,
    callers: HashMap<Arc<str>, Caller>,
    apps: Vec<App>,
    app_index: HashMap<(u64, usize), usize>,
    accounts: Vec<Account>,
    account_index: HashMap<u64, usize>,
    streams: Vec<Stream>,
    /// When each stream is due next.
    due: BinaryHeap<Reverse<(Duration, usize)>>,
}

/// Numbers of applications that nobody has named begin here.
const FIRST_APP: u64 = 1_512_050;

impl Enforcer {
    pub(super) fn new(
        limits: Limits,
        names: Tokens,
        others: Vec<Others>,
        origin: SystemTime,
        seed: u64,
    ) -> Self {
        let into_second = origin
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.subsec_nanos());
        let shift = match limits.windows {
            Windows::OneSecondBuckets { phase: Some(phase) } => {
                Duration::from_nanos(into_second.into()) + Duration::from_secs(1) - phase
            }
            // Only from the seed: where in its second the machine starts must not matter.
            _ => Duration::from_nanos(fastrand::Rng::with_seed(seed).u64(0..1_000_000_000)),
        };
        Self {
            limits,
            names,
            others,
            origin,
            shift,
            seed,
            callers: HashMap::new(),
            apps: Vec::new(),
            app_index: HashMap::new(),
            accounts: Vec::new(),
            account_index: HashMap::new(),
            streams: Vec::new(),
            due: BinaryHeap::new(),
        }
    }

    fn window(&self, rule: Option<Rule>) -> Option<Window> {
        rule.map(|rule| match self.limits.windows {
            Windows::TrueRolling => Window::rolling(rule),
            Windows::OneSecondBuckets { .. } => Window::buckets(rule, self.shift),
        })
    }

    pub(super) fn account_of(&self, token: &str) -> u64 {
        self.names.account(token)
    }

    /// Finds out whose token it is; `None` for one that is not accepted.
    pub(super) fn identify(&mut self, token: &str, now: Duration) -> Option<Caller> {
        if let Some(caller) = self.callers.get(token) {
            return Some(caller.clone());
        }
        if token.is_empty() || !self.names.accepts(token) {
            return None;
        }
        let account_id = self.account_of(token);
        let account = match self.account_index.get(&account_id) {
            Some(&index) => index,
            None => self.open_account(account_id, now),
        };
        let app_id = self
            .names
            .app(token)
            .unwrap_or(FIRST_APP + self.callers.len() as u64);
        let app = match self.app_index.get(&(app_id, account)) {
            Some(&index) => index,
            None => {
                self.apps.push(App {
                    id: app_id,
                    burst: self.window(self.limits.burst),
                    associations: self.window(self.limits.associations),
                    in_work: 0,
                });
                self.app_index
                    .insert((app_id, account), self.apps.len() - 1);
                self.apps.len() - 1
            }
        };
        let caller = Caller {
            token: Arc::from(token),
            app,
            account,
        };
        self.callers.insert(caller.token.clone(), caller.clone());
        self.start_others(&caller, now);
        Some(caller)
    }

    /// Another quota for a window that there is, for everybody, known or not yet.
    pub(super) fn set_window(&mut self, class: Class, quota: u64) {
        let (apps, accounts) = (&mut self.apps, &mut self.accounts);
        let (rule, windows): (_, Vec<_>) = match class {
            Class::General => (
                &mut self.limits.burst,
                apps.iter_mut().map(|app| &mut app.burst).collect(),
            ),
            Class::Associations => (
                &mut self.limits.associations,
                apps.iter_mut().map(|app| &mut app.associations).collect(),
            ),
            Class::Search => (
                &mut self.limits.search,
                accounts
                    .iter_mut()
                    .map(|account| &mut account.search)
                    .collect(),
            ),
            Class::Free => return,
        };
        if let Some(rule) = rule {
            rule.quota = quota;
        }
        for window in windows.into_iter().flatten() {
            window.set_quota(quota);
        }
    }

    /// Another size of the daily pool, if there is one, for every account, known or not yet.
    pub(super) fn set_daily(&mut self, quota: u64) {
        if let Some(daily) = &mut self.limits.daily {
            *daily = quota;
        }
        for pool in self
            .accounts
            .iter_mut()
            .flat_map(|account| &mut account.daily)
        {
            pool.set_quota(quota);
        }
    }

    /// How many requests of this application are being worked on. Nobody counts those outside of all limits.
    pub(super) fn in_work(&mut self, caller: &Caller, class: Class) -> Option<&mut u64> {
        (class != Class::Free).then(|| &mut self.apps[caller.app].in_work)
    }

    fn open_account(&mut self, id: u64, now: Duration) -> usize {
        let wall = self.origin + now;
        let daily = self
            .limits
            .daily
            .map(|quota| Pool::new(quota, self.limits.zone.clone(), wall));
        self.accounts.push(Account {
            id,
            search: self.window(self.limits.search),
            daily,
        });
        self.account_index.insert(id, self.accounts.len() - 1);
        self.accounts.len() - 1
    }

    /// The others that share this caller's quota begin one window before the caller is first seen: they were there before.
    fn start_others(&mut self, caller: &Caller, now: Duration) {
        let account_id = self.accounts[caller.account].id;
        for others in &self.others {
            let known = self.streams.iter().any(|stream| {
                stream.class == others.class
                    && stream.caller.account == caller.account
                    && (others.class == Class::Search || stream.caller.app == caller.app)
            });
            if known || !others.concern(&caller.token, account_id) {
                continue;
            }
            let rule = match others.class {
                Class::General => self.limits.burst,
                Class::Search => self.limits.search,
                Class::Associations => self.limits.associations,
                Class::Free => None,
            };
            let lead = rule.map_or(Duration::ZERO, |rule| rule.window);
            let id = self.streams.len();
            let seed = self.seed.wrapping_add(1 + id as u64);
            let mut stream = Stream::new(others, caller.clone(), seed);
            let first = now.saturating_sub(lead) + stream.gap();
            self.streams.push(stream);
            self.due.push(Reverse((first, id)));
        }
    }

    /// Lets everybody else's requests happen up to `now`, the earliest first.
    pub(super) fn let_others(&mut self, now: Duration, mut seen: impl FnMut(Foreign)) {
        while let Some(&Reverse((at, id))) = self.due.peek() {
            if at > now {
                break;
            }
            self.due.pop();
            let stream = &mut self.streams[id];
            let gap = stream.gap();
            let (class, at_once, caller) = (stream.class, stream.at_once, stream.caller.clone());
            self.due.push(Reverse((at + gap, id)));
            let (app, account) = self.ids(&caller);
            for _ in 0..at_once {
                let counted = self.count(&caller, class, at, true).is_none();
                seen(Foreign {
                    at,
                    class,
                    counted,
                    account,
                    app,
                });
            }
        }
    }

    /// Counts one request, or says which limit refuses it. With `windows` false only the daily pool is asked.
    ///
    /// The daily pool comes first, and a refusal by a window has then cost daily quota, as recorded.
    pub(super) fn count(
        &mut self,
        caller: &Caller,
        class: Class,
        now: Duration,
        windows: bool,
    ) -> Option<Refusal> {
        let account = &mut self.accounts[caller.account];
        if let Some(pool) = &mut account.daily {
            if !pool.spend(self.origin + now) {
                return Some(Refusal::Daily);
            }
        }
        let app = &mut self.apps[caller.app];
        let window = match class {
            Class::General => &mut app.burst,
            Class::Search => &mut account.search,
            Class::Associations => &mut app.associations,
            Class::Free => return None,
        };
        let admitted = match window {
            Some(window) if windows => window.admit(now),
            _ => true,
        };
        (!admitted).then_some(Refusal::Window)
    }

    /// The figures of the limits that apply to `class`.
    pub(super) fn figures(&mut self, caller: &Caller, class: Class, now: Duration) -> Figures {
        if class == Class::Free {
            return Figures::default();
        }
        let burst = match (&mut self.apps[caller.app].burst, class) {
            (Some(window), Class::General) => {
                let rule = window.rule();
                Some((rule, rule.quota.saturating_sub(window.used(now))))
            }
            _ => None,
        };
        let daily = self.accounts[caller.account].daily.as_mut().map(|pool| {
            let used = pool.used(self.origin + now);
            (pool.quota(), pool.quota().saturating_sub(used))
        });
        Figures { burst, daily }
    }

    /// Number of the application and of the account, as error bodies show them.
    pub(super) fn ids(&self, caller: &Caller) -> (u64, u64) {
        (self.apps[caller.app].id, self.accounts[caller.account].id)
    }

    /// The answer of `account-info/v3/api-usage/daily/private-apps`.
    pub(super) fn usage(&mut self, caller: &Caller, wall: SystemTime) -> Reply {
        let usage = self.accounts[caller.account].daily.as_mut().map(|pool| {
            json!({
                "name": "private-apps-api-calls-daily",
                "usageLimit": pool.quota(),
                "currentUsage": pool.used(wall),
                "collectedAt": iso(wall),
                "fetchStatus": "SUCCESS",
                "resetsAt": iso(pool.ends(wall)),
            })
        });
        let results: Vec<_> = usage.into_iter().collect();
        Reply::json(StatusCode::OK, &json!({ "results": results }))
    }

    /// The answer of `account-info/v3/details`.
    pub(super) fn details(&self, caller: &Caller, wall: SystemTime) -> Reply {
        let (zone, seconds) = self.limits.zone.describe(wall);
        let details = json!({
            "portalId": self.accounts[caller.account].id,
            "accountType": "STANDARD",
            "timeZone": zone,
            "utcOffset": offset_name(seconds),
            "utcOffsetMilliseconds": i64::from(seconds) * 1_000,
        });
        Reply::json(StatusCode::OK, &details)
    }
}
