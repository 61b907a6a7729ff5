//! Which piece is asked when: a state machine that knows neither services nor time.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;

use super::memory::{Entry, Memory, Recalled};
use super::policy::{Finished, Piece, Question, Shape, Taken, Whole};
use crate::core::Fingerprint;

/// A question that leads to so many others has lost its way.
const MOST_QUESTIONS: u32 = 8;

/// One heavy request on its way to a whole answer.
pub(super) struct Job {
    memory: Arc<Memory>,
    account: Fingerprint,
    question: Box<dyn Question>,
    questions: u32,
    entry: Entry,
    way: Cow<'static, str>,
    /// Questions that had to be asked otherwise; remembered once the other way is seen to work.
    replaced: Vec<Entry>,
    /// Questions that are known to be asked better otherwise.
    avoided: Vec<Entry>,
    parallel: usize,
    /// What has not been asked for yet, in order.
    gaps: Vec<Gap>,
    asked: Vec<Ask>,
    /// Nothing is beyond.
    end: usize,
    /// How many units the next piece asks for.
    size: usize,
    /// The largest size that is known to work.
    proved: usize,
    /// A size that is known to work has failed once.
    accident: bool,
    /// The size is smaller than what the memory knows, and has not worked yet.
    lessened: bool,
    /// The memory wants to know whether a larger size works by now.
    probe: bool,
    /// The last time no size worked; if this one fails, none other is tried.
    instead_if_heavy: bool,
    begun: bool,
    pub(super) tally: Tally,
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) pieces: u32,
    pub(super) too_heavy: u32,
}

/// Units that have not been asked for.
struct Gap {
    span: Range<usize>,
    most: usize,
    again: bool,
}

impl Gap {
    /// Whether the pieces may be of any size.
    fn is_free(&self) -> bool {
        self.most == usize::MAX && !self.again
    }
}

/// A piece that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// For which of the questions, one after the other.
    question: u32,
    pub(super) span: Range<usize>,
    /// Asked as it came, by the request that the caller made.
    pub(super) original: bool,
    /// If it is too heavy, less is asked for; nobody further inside need repeat it.
    pub(super) can_shrink: bool,
}

impl Ask {
    /// A request that cannot be asked in pieces.
    pub(super) fn all() -> Self {
        Self {
            question: 0,
            span: 0..0,
            original: true,
            can_shrink: false,
        }
    }
}

/// What an answer was.
#[derive(Debug)]
pub(super) enum Part {
    Taken,
    /// The answer is the caller's as it is.
    Foreign,
    Unfit(Cow<'static, str>),
}

impl Job {
    pub(super) fn new(
        memory: Arc<Memory>,
        account: Fingerprint,
        parallel: usize,
        question: Box<dyn Question>,
    ) -> Self {
        let shape = question.shape();
        let mut job = Self {
            entry: memory.entry(account, &shape),
            way: shape.detail,
            memory,
            account,
            question,
            questions: 0,
            replaced: Vec::new(),
            avoided: Vec::new(),
            parallel,
            gaps: Vec::new(),
            asked: Vec::new(),
            end: 0,
            size: 0,
            proved: 0,
            accident: false,
            lessened: false,
            probe: false,
            instead_if_heavy: false,
            begun: false,
            tally: Tally::default(),
        };
        job.begin();
        job
    }

    pub(super) fn question(&self) -> &dyn Question {
        &*self.question
    }

    /// In which way the request is asked at present.
    pub(super) fn way(&self) -> Cow<'static, str> {
        self.way.clone()
    }

    /// How many units a piece asks for at present.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Begins with the question, or with what is known to work instead of it.
    fn begin(&mut self) {
        loop {
            self.questions += 1;
            let shape = self.question.shape();
            self.entry = self.memory.entry(self.account, &shape);
            self.way = shape.detail;
            let whole = self.question.size().max(1);
            let most = self.question.most().clamp(1, whole);
            let recalled = self.memory.recall(&self.entry, most);
            (self.instead_if_heavy, self.probe) = (false, false);
            (self.size, self.proved, self.lessened) = (most, 0, false);
            match recalled {
                Recalled::Nothing => {}
                Recalled::Size {
                    size,
                    proved,
                    probe,
                } => {
                    (self.size, self.proved, self.probe) = (size, proved, probe);
                    self.lessened = proved == 0 && size < most;
                }
                Recalled::Instead { probe } => match self.another() {
                    // What leaves something out comes only after the whole was asked for.
                    Some(other) if !probe && !other.is_lossy() => {
                        self.avoided.push(self.entry);
                        self.question = other;
                        continue;
                    }
                    other => {
                        (self.instead_if_heavy, self.probe) = (other.is_some(), probe);
                    }
                },
            }
            self.end = whole;
            self.gaps = vec![Gap {
                span: 0..whole,
                most: usize::MAX,
                again: false,
            }];
            self.asked.clear();
            (self.accident, self.begun) = (false, false);
            return;
        }
    }

    /// The original request, when it is to be sent as it came.
    pub(super) fn original(&mut self) -> Option<Ask> {
        let whole = self.question.size();
        if self.questions > 1 || self.size < whole {
            return None;
        }
        self.gaps.clear();
        let ask = Ask {
            question: self.questions,
            span: 0..whole,
            original: true,
            can_shrink: self.can_shrink(whole, false),
        };
        self.asked.push(ask.clone());
        Some(ask)
    }

    /// The next piece, if one may go now.
    pub(super) fn next(&mut self) -> Option<(Ask, Piece)> {
        let end = self.known_end();
        let (start, length, again) = {
            let gap = self.gaps.first().filter(|gap| gap.span.start < end)?;
            let length = gap.most.min(self.size).min(gap.span.len());
            (gap.span.start, length, gap.again)
        };
        let alone = !self.begun || length > self.proved;
        let room = if alone { 1 } else { self.parallel };
        if self.asked.len() >= room {
            return None;
        }
        let span = start..start + length;
        let piece = self.question.piece(span.clone())?;
        let gap = &mut self.gaps[0];
        gap.span.start = span.end;
        if gap.span.is_empty() {
            self.gaps.remove(0);
        }
        let ask = Ask {
            question: self.questions,
            can_shrink: self.can_shrink(length, again),
            span,
            original: false,
        };
        self.asked.push(ask.clone());
        self.tally.pieces += 1;
        Some((ask, piece))
    }

    fn known_end(&self) -> usize {
        let expected = self.question.expected().max(usize::from(!self.begun));
        self.end.min(expected)
    }

    /// Nothing is under way and nothing can be asked, and yet there are gaps.
    pub(super) fn is_stuck(&self) -> bool {
        self.asked.is_empty() && !self.is_complete()
    }

    fn is_complete(&self) -> bool {
        let end = self.known_end();
        self.begun && self.asked.is_empty() && self.gaps.iter().all(|gap| gap.span.start >= end)
    }

    /// A piece of a size that is known to work is asked once more before anything is made of its failure.
    fn can_shrink(&self, length: usize, again: bool) -> bool {
        !again && (length > self.question.floor() || length <= self.proved || self.has_another())
    }

    fn has_another(&self) -> bool {
        self.questions < MOST_QUESTIONS && self.question.instead().is_some()
    }

    /// Whether a piece that was too heavy is asked otherwise. If not, the caller gets its failure.
    pub(super) fn goes_on(&self, ask: &Ask) -> bool {
        ask.can_shrink || self.has_another()
    }

    /// A piece was too heavy; only for those that [go on](Self::goes_on).
    pub(super) fn too_heavy(&mut self, ask: &Ask) {
        self.tally.too_heavy += 1;
        if !self.close(ask) {
            return;
        }
        let (length, floor) = (ask.span.len(), self.question.floor());
        let known = length <= self.proved;
        let half = length.div_ceil(2);
        if ask.can_shrink && known && !self.accident {
            self.accident = true;
            self.memory.stumbled(&self.entry);
            let splits = length > 1 && half >= floor;
            return self.reopen(Gap {
                span: ask.span.clone(),
                most: if splits { half } else { length },
                again: !splits,
            });
        }
        if known {
            self.proved = 0;
        }
        self.end_probe(false);
        let mut less = half.max(self.proved);
        // Others may have learnt in the meantime what works.
        let learnt = self.memory.known_size(&self.entry);
        match learnt.filter(|_| !known && self.proved == 0) {
            Some(0) => self.instead_if_heavy = self.has_another(),
            Some(learnt) if learnt < length => (self.proved, less) = (learnt, learnt),
            _ => {}
        }
        let can_halve = length > floor && !self.instead_if_heavy;
        if ask.can_shrink && can_halve && (less >= floor || !self.has_another()) {
            let less = less.max(floor);
            if less < self.size {
                self.size = less;
                self.lessened = self.proved < less;
            }
            return self.reopen(Gap {
                span: ask.span.clone(),
                most: usize::MAX,
                again: false,
            });
        }
        match self.another() {
            Some(other) => {
                self.replaced.push(self.entry);
                self.question = other;
                self.begin();
            }
            // It was known to work and now fails a second time: at the floor it is asked once more, and then it is final.
            None => self.reopen(Gap {
                span: ask.span.clone(),
                most: length,
                again: true,
            }),
        }
    }

    fn another(&self) -> Option<Box<dyn Question>> {
        if self.questions >= MOST_QUESTIONS {
            return None;
        }
        self.question.instead()
    }

    /// The caller gets the failure of a piece that cannot be made smaller. Where nothing works at all, the size is not what matters.
    pub(super) fn failed(&mut self) {
        self.lessened = false;
    }

    /// The request as it came was answered. An error has told nothing of its size.
    pub(super) fn original_answered(&mut self, success: bool) {
        if success {
            self.end_probe(true);
        }
    }

    /// Takes the answer to a piece.
    pub(super) fn answered(&mut self, ask: &Ask, answer: &Response<Bytes>) -> Part {
        if !self.close(ask) {
            return Part::Taken;
        }
        let (start, end) = (ask.span.start, ask.span.end);
        match self.question.take(ask.span.clone(), answer) {
            Taken::UpTo(upto) if start < upto && upto <= end => {
                if upto < end {
                    self.reopen(Gap {
                        span: upto..end,
                        most: usize::MAX,
                        again: false,
                    });
                }
            }
            Taken::UpTo(_) => return Part::Unfit("a piece answers what it was not asked".into()),
            Taken::End => self.end = self.end.min(end),
            Taken::Foreign => return Part::Foreign,
            Taken::Unfit(why) => return Part::Unfit(why),
        }
        self.worked(ask.span.len());
        Part::Taken
    }

    /// Puts the answers together when all are here. `None` when there is more to ask.
    pub(super) fn conclude(&mut self) -> Option<Result<Whole, Cow<'static, str>>> {
        if !self.is_complete() {
            return None;
        }
        // Nobody asks it any more.
        let question = std::mem::replace(&mut self.question, Box::new(Nothing));
        match question.finish() {
            Finished::Answer(whole) => {
                self.lessened = false;
                Some(Ok(whole))
            }
            Finished::Ask(_) if self.questions >= MOST_QUESTIONS => {
                Some(Err("it leads to ever more questions".into()))
            }
            Finished::Ask(question) => {
                self.question = question;
                self.begin();
                None
            }
            Finished::Unfit(why) => Some(Err(why)),
        }
    }

    /// A piece of this size was answered.
    fn worked(&mut self, length: usize) {
        self.begun = true;
        if length >= self.proved {
            self.accident = false;
        }
        if length > self.proved {
            self.proved = length;
            if self.probe && length == self.size {
                self.end_probe(true);
            }
        }
        for replaced in self.replaced.drain(..) {
            self.memory.learn(&replaced, 0);
        }
        for avoided in &self.avoided {
            self.memory.worked(avoided);
        }
        if self.lessened && length == self.size {
            self.lessened = false;
            self.memory.learn(&self.entry, self.size);
        } else {
            self.memory.worked(&self.entry);
        }
    }

    fn end_probe(&mut self, works: bool) {
        if std::mem::take(&mut self.probe) {
            self.memory.probed(&self.entry, works.then_some(self.size));
        }
    }

    /// Whether a piece is still wanted; not if its question is asked otherwise by now.
    pub(super) fn wants(&self, ask: &Ask) -> bool {
        ask.question == self.questions
    }

    /// False for a piece that is no longer wanted.
    fn close(&mut self, ask: &Ask) -> bool {
        let place = self.asked.iter().position(|asked| asked == ask);
        if let Some(place) = place {
            self.asked.swap_remove(place);
        }
        place.is_some()
    }

    fn reopen(&mut self, mut gap: Gap) {
        let place = self
            .gaps
            .partition_point(|next| next.span.start < gap.span.start);
        // What can be asked in one piece need not be asked in two.
        let next = self.gaps.get(place);
        if next
            .is_some_and(|next| gap.is_free() && next.is_free() && next.span.start == gap.span.end)
        {
            gap.span.end = self.gaps.remove(place).span.end;
        }
        self.gaps.insert(place, gap);
    }
}

impl Drop for Job {
    /// A probe that was given up has told nothing. Who gives up before he has found a size that works leaves to the next one how far
    /// he came; otherwise callers who do not wait long enough would all begin anew.
    fn drop(&mut self) {
        if self.lessened {
            self.memory.suspect(&self.entry, self.size);
        }
        if self.probe {
            self.memory.unprobed(&self.entry, !self.asked.is_empty());
        }
    }
}

/// In the place of a question that has been answered.
struct Nothing;

impl Question for Nothing {
    fn shape(&self) -> Shape {
        Shape::new("", "")
    }

    fn size(&self) -> usize {
        0
    }

    fn piece(&self, _: Range<usize>) -> Option<Piece> {
        None
    }

    fn take(&mut self, _: Range<usize>, _: &Response<Bytes>) -> Taken {
        Taken::End
    }

    fn finish(self: Box<Self>) -> Finished {
        Finished::Unfit("it is answered already".into())
    }
}
