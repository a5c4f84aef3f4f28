//! Builder methods of layers.

/// Methods of a `Layer` that set the field of their name: `name: Type;` takes the value, `name: into Type;` whatever
/// converts into it, `name: some Type;` the same for an optional field.
macro_rules! setters {
    () => {};
    ($(#[$doc:meta])* $name:ident: into $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: impl Into<$ty>) -> Self {
            self.with(|def| def.$name = $name.into())
        }
        $crate::model::setters::setters! { $($rest)* }
    };
    ($(#[$doc:meta])* $name:ident: some $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: impl Into<$ty>) -> Self {
            self.with(|def| def.$name = Some($name.into()))
        }
        $crate::model::setters::setters! { $($rest)* }
    };
    ($(#[$doc:meta])* $name:ident: $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: $ty) -> Self {
            self.with(|def| def.$name = $name)
        }
        $crate::model::setters::setters! { $($rest)* }
    };
}

pub(crate) use setters;
