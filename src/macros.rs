//! What every layer has.

/// `get_ref`, `get_mut` and `into_inner` for a service with a field `inner`.
macro_rules! inner_accessors {
    ($service:ident) => {
        impl<S> $service<S> {
            /// The service inside.
            pub fn get_ref(&self) -> &S {
                &self.inner
            }

            /// The service inside, to change it.
            pub fn get_mut(&mut self) -> &mut S {
                &mut self.inner
            }

            /// Takes the layer off.
            pub fn into_inner(self) -> S {
                self.inner
            }
        }
    };
}

pub(crate) use inner_accessors;
