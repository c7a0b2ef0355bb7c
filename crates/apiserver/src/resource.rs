//! What a kind of object is called, where it lives, and what it can do.
//!
//! Built-in kinds and those of CustomResourceDefinitions are the same to every
//! other module; only the registry knows where a resource came from.

use serde_json::Value;

/// One served version of one kind of object.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Served version, such as `v1`.
    pub version: String,
    /// Lower-case plural, such as `pods`.
    pub plural: String,
    /// Lower-case singular, such as `pod`.
    pub singular: String,
    /// Kind, such as `Pod`.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Abbreviations that kubectl accepts.
    pub short_names: Vec<String>,
    /// Groups of resources, such as `all`.
    pub categories: Vec<String>,
    /// What can be asked for below an object, `status` first when it has one.
    pub subresources: Vec<String>,
    /// Where objects of this resource come from.
    pub origin: Origin,
}

/// Where a resource's definition comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// Built in.
    BuiltIn,
    /// A CustomResourceDefinition's version.
    Custom(Custom),
}

/// A built-in kind that the server itself acts on.
///
/// A definition may bring a kind of the same name in a group of its own; that one is just
/// stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Builtin {
    /// A CustomResourceDefinition.
    Definition,
    /// A Job.
    Job,
    /// A namespace.
    Namespace,
    /// A node.
    Node,
    /// A pod.
    Pod,
    /// A Service.
    Service,
    /// Any other.
    Other,
}

/// What a CustomResourceDefinition says about one of its versions.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Custom {
    /// The `openAPIV3Schema`, or null.
    pub schema: Value,
    /// `additionalPrinterColumns`.
    pub columns: Vec<Value>,
    /// The version that objects are stored in.
    pub storage: String,
    /// The warning that clients get when the version is deprecated.
    pub deprecation: Option<String>,
}

impl Resource {
    /// `group/version`, or just the version for the core group.
    pub fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// `plural.group`, or just the plural for the core group.
    pub fn qualified(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The `apiVersion` that objects are stored with.
    pub fn storage_version(&self) -> String {
        match &self.origin {
            Origin::Custom(custom) if custom.storage != self.version => {
                format!("{}/{}", self.group, custom.storage)
            }
            _ if self.group == "extensions" => "apps/v1".to_owned(),
            _ => self.api_version(),
        }
    }

    /// The built-in kind that it is; none for those of definitions.
    pub fn builtin(&self) -> Option<Builtin> {
        if matches!(self.origin, Origin::Custom(_)) {
            return None;
        }
        Some(match (self.group.as_str(), self.kind.as_str()) {
            ("apiextensions.k8s.io", "CustomResourceDefinition") => Builtin::Definition,
            ("batch", "Job") => Builtin::Job,
            ("", "Namespace") => Builtin::Namespace,
            ("", "Node") => Builtin::Node,
            ("", "Pod") => Builtin::Pod,
            ("", "Service") => Builtin::Service,
            _ => Builtin::Other,
        })
    }

    /// Whether it is this built-in kind.
    pub fn is(&self, kind: Builtin) -> bool {
        self.builtin() == Some(kind)
    }

    /// Whether `name` is one of its subresources.
    pub fn has(&self, name: &str) -> bool {
        self.subresources.iter().any(|one| one == name)
    }

    /// Whether objects are only answered, never stored (reviews).
    pub fn is_review(&self) -> bool {
        matches!(self.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io")
    }
}
