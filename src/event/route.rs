use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// What a request asks for, without whom: its method and its path, in which everything is `{}` but the API's own names, as in
/// `GET /crm/v3/objects/contacts/{}`.
///
/// [`Routes::is_name`](crate::request::Routes::is_name) tells the names; [`RouteName`](crate::request::RouteName) names the route of a single request.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route(Arc<str>);

impl Route {
    /// The route as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Route {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Deref for Route {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(feature = "json")]
impl serde::Serialize for Route {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(feature = "json")]
impl<'de> serde::Deserialize<'de> for Route {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self(text.into()))
    }
}
