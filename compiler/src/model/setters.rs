//! Builder methods of definitions.

/// Methods that set the field of their name: `name: Type;` takes the value, `name: into Type;` whatever converts into it,
/// and `some` before either is for an optional field. They are for whatever has a method `with`: layers, and plain
/// definitions through [`With`]. After `in PATH;` the fields are those of what the function gives for a definition, such
/// as [`Has::part`].
macro_rules! setters {
    (in $part:path; $($rest:tt)*) => { $crate::model::setters::setters! { @ ($part) $($rest)* } };
    (@ ($part:path)) => {};
    (@ ($part:path) $(#[$doc:meta])* $name:ident: some into $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: impl Into<$ty>) -> Self {
            self.with(|def| $part(def).$name = Some($name.into()))
        }
        $crate::model::setters::setters! { @ ($part) $($rest)* }
    };
    (@ ($part:path) $(#[$doc:meta])* $name:ident: some $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: $ty) -> Self {
            self.with(|def| $part(def).$name = Some($name))
        }
        $crate::model::setters::setters! { @ ($part) $($rest)* }
    };
    (@ ($part:path) $(#[$doc:meta])* $name:ident: into $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: impl Into<$ty>) -> Self {
            self.with(|def| $part(def).$name = $name.into())
        }
        $crate::model::setters::setters! { @ ($part) $($rest)* }
    };
    (@ ($part:path) $(#[$doc:meta])* $name:ident: $ty:ty; $($rest:tt)*) => {
        $(#[$doc])*
        pub fn $name(self, $name: $ty) -> Self {
            self.with(|def| $part(def).$name = $name)
        }
        $crate::model::setters::setters! { @ ($part) $($rest)* }
    };
    ($($fields:tt)*) => { $crate::model::setters::setters! { @ (std::convert::identity) $($fields)* } };
}

pub(crate) use setters;

/// A definition that is its own builder, as losses, metrics and optimizers are.
pub(crate) trait With: Sized {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl<T> With for T {}

/// A definition with arguments that others have, too.
pub trait Has<A> {
    fn part(&mut self) -> &mut A;
}

/// [`Has`] for the parts in fields: `has!(Dense => weights: KernelAndBias)`.
macro_rules! has {
    (const $n:ident: usize; $def:ty => $($path:ident).+: $part:ty) => {
        impl<const $n: usize> $crate::model::setters::Has<$part> for $def {
            fn part(&mut self) -> &mut $part {
                &mut self.$($path).+
            }
        }
    };
    ($def:ty => $($path:ident).+: $part:ty) => {
        impl $crate::model::setters::Has<$part> for $def {
            fn part(&mut self) -> &mut $part {
                &mut self.$($path).+
            }
        }
    };
}

pub(crate) use has;
