//! The routes that were seen, each written down once.

use hashbrown::{DefaultHashBuilder, HashTable};
use http::Method;
use std::hash::BuildHasher;

use crate::event::Route;
use crate::request::{RequestHead, RouteName, Routes};

/// What there are more of are all counted as one route.
const MOST: usize = 256;
/// A longer template ends there; the routes of an API are shorter.
const LONGEST: usize = 120;
/// What these are called.
const OTHER: &str = "other";
/// What stands for that which is no name of the API.
const ANYTHING: &str = "{}";

/// The position of a route among those that were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteId(u16);

impl RouteId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// All routes that were seen; the first one stands for those beyond [`MOST`].
#[derive(Debug)]
pub(crate) struct RouteTable {
    routes: Vec<Route>,
    index: HashTable<u16>,
    hasher: DefaultHashBuilder,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self {
            routes: vec![Route::from(OTHER)],
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl RouteTable {
    /// Finds a route or adds it.
    pub(crate) fn id(&mut self, name: &str) -> RouteId {
        if name == OTHER {
            return RouteId(0);
        }
        let hash = self.hasher.hash_one(name);
        let is_it = |id: &u16| &*self.routes[usize::from(*id)] == name;
        if let Some(id) = self.index.find(hash, is_it) {
            return RouteId(*id);
        }
        if self.routes.len() > MOST {
            return RouteId(0);
        }
        let id = self.routes.len() as u16;
        self.routes.push(Route::from(name));
        let (routes, hasher) = (&self.routes, &self.hasher);
        let rehash = |id: &u16| hasher.hash_one(routes[usize::from(*id)].as_str());
        self.index.insert_unique(hash, id, rehash);
        RouteId(id)
    }

    pub(crate) fn route(&self, id: RouteId) -> &Route {
        self.at(id.index())
    }

    pub(crate) fn at(&self, index: usize) -> &Route {
        self.routes.get(index).unwrap_or(&self.routes[0])
    }
}

/// The template of a request, on the stack.
#[derive(Debug)]
pub(crate) struct Template {
    text: [u8; LONGEST],
    length: usize,
}

impl Template {
    /// What the caller calls the route, or method and path without anything that is no name of the API.
    pub(crate) fn of(head: &RequestHead<'_>, routes: &dyn Routes) -> Self {
        let mut template = Self {
            text: [0; LONGEST],
            length: 0,
        };
        if let Some(RouteName(name)) = head.extensions.get() {
            template.push(name);
            return template;
        }
        template.push(method(head.method));
        template.push(" ");
        let method_ends = template.length;
        for segment in Segments(head.uri.path()) {
            let segment = match routes.is_name(segment) {
                true => segment,
                false => ANYTHING,
            };
            if template.length + 1 + segment.len() > LONGEST - 2 {
                template.push("/*");
                break;
            }
            // There is place for both.
            template.text[template.length] = b'/';
            template.length += 1;
            template.push(segment);
        }
        if template.length == method_ends {
            template.push("/");
        }
        template
    }

    /// Up to the end of what there is place for; a name of the caller's may be cut.
    fn push(&mut self, text: &str) {
        let place = &mut self.text[self.length..];
        let mut end = text.len();
        if end > place.len() {
            end = place.len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
        }
        place[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length += end;
    }

    pub(crate) fn as_str(&self) -> &str {
        // Whole characters were written, so this never fails.
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

/// The segments of a path, without the empty ones: by bytes, which is faster on what is as short as these than to search.
struct Segments<'a>(&'a str);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        while !self.0.is_empty() {
            let end = self.0.bytes().position(|byte| byte == b'/');
            let (segment, rest) = match end {
                Some(end) => (&self.0[..end], &self.0[end + 1..]),
                None => (self.0, ""),
            };
            self.0 = rest;
            if !segment.is_empty() {
                return Some(segment);
            }
        }
        None
    }
}

/// A method of somebody's own may be anything, even an id.
fn method(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS
        | Method::TRACE
        | Method::CONNECT => method.as_str(),
        _ => "OTHER",
    }
}
