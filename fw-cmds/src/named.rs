//! Sets of named numbers, such as opcodes: the macro that declares one.

/// Declares a number type whose known values have names. Each row is `NAME = value;`, or
/// `NAME = value, "KERNEL_NAME";` where the kernel's name is not simply the prefix and `NAME`.
///
/// The set is open: any number is a value of the type, known or not.
macro_rules! named {
    (
        $(#[$doc:meta])*
        $type:ident($repr:ty) = $prefix:literal;
        $( $(#[$value_doc:meta])* $name:ident = $value:literal $(, $kernel:literal)?; )+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(pub $repr);

        impl $type {
            $(
                $(#[$value_doc])*
                #[doc = concat!(
                    "`", crate::named::kernel_name!($prefix $name $($kernel)?), "` = `",
                    stringify!($value), "`."
                )]
                pub const $name: Self = Self($value);
            )+

            /// Every known value with its name, in the order of the declaration.
            pub const ALL: &[(&str, Self)] = &[$((crate::named::name(stringify!($name)), Self::$name)),+];

            /// Every known value with the name that the kernel's sources have for it.
            pub const KERNEL_NAMES: &[(&str, Self)] =
                &[$((crate::named::kernel_name!($prefix $name $($kernel)?), Self::$name)),+];

            /// The name of a known value, the first in [`Self::ALL`]; `None` for any other number.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                Self::ALL.iter().find(|(_, value)| *value == self).map(|(name, _)| *name)
            }

            /// The value of that name; `None` if there is none.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
            }
        }

        /// `NAME (0x1)` for a known value, `0x1` for any other.
        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => write!(f, "{name} ({:#x})", self.0),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }
    };
}

/// The kernel's name of a row.
macro_rules! kernel_name {
    ($prefix:literal $name:ident) => {
        concat!($prefix, stringify!($name))
    };
    ($prefix:literal $name:ident $kernel:literal) => {
        $kernel
    };
}

pub(crate) use kernel_name;
pub(crate) use named;

/// The name without the underscore that lets an identifier start with a digit (`_2ERR_QP`).
pub(crate) const fn name(identifier: &'static str) -> &'static str {
    match identifier.as_bytes() {
        [b'_', b'0'..=b'9', ..] => identifier.split_at(1).1,
        _ => identifier,
    }
}
