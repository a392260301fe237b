//! What the registries of methods share: a manifest chooses a method by its name, and a method's own parameters are
//! joined with shared ones.
//!
//! This module knows no method and no kind of method.

mod with;

pub use with::{Beside, With};

/// A variant of a registry that holds the method's own parameters and nothing else.
pub(crate) type Alone<Method> = Method;

/// Makes a registry: an enum of methods with their parameters. A manifest chooses one by its name.
///
/// A line of the list, `"name" => file::Method`, re-exports the method and adds it to the parser and the schema.
/// A variant holds the method, or a `Holds<Method>` if the enum is written `enum Any<Holds>`. The held type implements
/// the trait. The parameters themselves refuse unknown fields.
macro_rules! registry {
    ($(#[$doc:meta])* enum $Any:ident by $tag:tt as $Trait:ident; $($entries:tt)*) => {
        use $crate::methods::Alone;

        $crate::methods::registry! { $(#[$doc])* enum $Any<Alone> by $tag as $Trait; $($entries)* }
    };
    ($(#[$doc:meta])* enum $Any:ident<$Holds:ident> by $tag:tt as $Trait:ident;
     $($name:literal => $module:ident::$Method:ident,)*) => {
        $(pub use $module::$Method;)*

        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = $tag)]
        #[expect(missing_docs, reason = "a variant is documented by its parameters, and so is its schema")]
        pub enum $Any {
            $(#[serde(rename = $name)] $Method($Holds<$Method>),)*
        }

        impl $Any {
            /// All names.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The name in a manifest.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Method(_) => $name,)*
                }
            }

            /// The method with its parameters.
            pub fn get(&self) -> &dyn $Trait {
                match self {
                    $(Self::$Method(method) => method,)*
                }
            }
        }
    };
}

pub(crate) use registry;
