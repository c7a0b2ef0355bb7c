//! The structs of Kubernetes' built-in kinds: fields, types, merge keys, numbers.
//!
//! Read from `structs/table.txt`, which `structs/main.go` writes from
//! Kubernetes' own Go types. What a field means is decided elsewhere.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

/// `structs/main.go` describes the format.
const TABLE: &str = include_str!("../structs/table.txt");

static STRUCTS: LazyLock<Structs> = LazyLock::new(|| Structs::read(TABLE));

/// The struct of every object's metadata.
pub const METADATA: &str = "ObjectMeta";

/// One struct.
#[derive(Debug)]
pub struct Struct {
    /// Its name in Go.
    pub name: &'static str,
    /// Its fields, in the order of the source.
    pub fields: Vec<Field>,
}

/// One field of a struct.
#[derive(Debug)]
pub struct Field {
    /// Its name in JSON; `.` for a struct whose fields stand inline in JSON.
    pub name: &'static str,
    /// Its number in protobuf, 0 when it has none.
    pub number: u64,
    /// What it holds.
    pub holds: Type,
    /// Whether an empty value counts (a pointer in Go, such as `replicas: 0`).
    pub is_pointer: bool,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Bytes, in JSON as base64.
    Bytes,
    /// A moment, in JSON as RFC 3339.
    Time,
    /// A duration such as `1.5s`.
    Duration,
    /// An amount such as `100m`, in JSON a string or a number.
    Quantity,
    /// A number or a string.
    IntOrString,
    /// Anything.
    Any,
    /// A set of fields, as an object (FieldsV1).
    Fields,
    /// A list.
    List(Box<Type>),
    /// A map from strings.
    Map(Box<Type>),
    /// A struct, by name.
    Struct(&'static str),
}

impl Struct {
    /// The field of this name in JSON, and the struct that declares it.
    pub fn field(&'static self, name: &str) -> Option<(&'static Struct, &'static Field)> {
        let own = self.fields.iter().find(|field| field.name == name && name != ".");
        own.map(|field| (self, field)).or_else(|| self.inline().find_map(|inner| inner.field(name)))
    }

    fn inline(&'static self) -> impl Iterator<Item = &'static Struct> {
        self.fields.iter().filter(|field| field.name == ".").filter_map(|field| match field.holds {
            Type::Struct(name) => by_name(name),
            _ => None,
        })
    }
}

impl Type {
    /// The type as Go writes it.
    pub fn go(&self) -> String {
        match self {
            Self::String => "string".into(),
            Self::Bool => "bool".into(),
            Self::Int32 => "int32".into(),
            Self::Int64 => "int64".into(),
            Self::Bytes => "[]uint8".into(),
            Self::Time => "v1.Time".into(),
            Self::Duration => "v1.Duration".into(),
            Self::Quantity => "resource.Quantity".into(),
            Self::IntOrString => "intstr.IntOrString".into(),
            Self::Any => "runtime.RawExtension".into(),
            Self::Fields => "v1.FieldsV1".into(),
            Self::List(each) => format!("[]{}", each.go()),
            Self::Map(each) => format!("map[string]{}", each.go()),
            Self::Struct(name) => format!("v1.{}", name.rsplit('.').next().unwrap_or(name)),
        }
    }

    fn read(text: &'static str) -> Self {
        if let Some(each) = text.strip_prefix("[]") {
            return Self::List(Box::new(Self::read(each)));
        }
        if let Some(each) = text.strip_prefix("{}") {
            return Self::Map(Box::new(Self::read(each)));
        }
        match text.strip_prefix('*').unwrap_or(text) {
            "string" => Self::String,
            "bool" => Self::Bool,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "bytes" => Self::Bytes,
            "time" => Self::Time,
            "duration" => Self::Duration,
            "quantity" => Self::Quantity,
            "intorstring" => Self::IntOrString,
            "any" => Self::Any,
            "fields" => Self::Fields,
            name => Self::Struct(name),
        }
    }
}

/// The struct with this name.
pub fn by_name(name: &str) -> Option<&'static Struct> {
    STRUCTS.by_name.get(name)
}

/// The struct of the objects of a kind.
pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Struct> {
    // Deployments were in this group once, and are stored as those of today.
    let api_version = match api_version {
        "extensions/v1beta1" => "apps/v1",
        same => same,
    };
    let name = STRUCTS.kinds.get(&(api_version, kind))?;
    by_name(name)
}

struct Structs {
    by_name: HashMap<&'static str, Struct>,
    kinds: BTreeMap<(&'static str, &'static str), &'static str>,
}

impl Structs {
    fn read(table: &'static str) -> Self {
        let mut structs = Self { by_name: HashMap::new(), kinds: BTreeMap::new() };
        for line in table.lines() {
            let mut words = line.split(' ');
            let first = words.next().unwrap_or_default();
            if let Some(api_version) = first.strip_prefix('@') {
                if let (Some(kind), Some(name)) = (words.next(), words.next()) {
                    structs.kinds.insert((api_version, kind), name);
                }
                continue;
            }
            let fields = words.filter_map(field).collect();
            structs.by_name.insert(first, Struct { name: first, fields });
        }
        structs
    }
}

fn field(word: &'static str) -> Option<Field> {
    let mut parts = word.split(':');
    let (name, number, holds) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    // Behind it stands how strategic merge treats a list.
    let holds = holds.split('@').next()?;
    Some(Field { name, number, holds: Type::read(holds), is_pointer: holds.starts_with('*') })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn every_struct_that_a_field_names_is_in_the_table() {
        fn inside(holds: &Type) -> &Type {
            match holds {
                Type::List(each) | Type::Map(each) => inside(each),
                other => other,
            }
        }
        for one in STRUCTS.by_name.values() {
            assert_eq!(
                TABLE.lines().filter(|line| line.split(' ').next() == Some(one.name)).count(),
                1
            );
            for field in &one.fields {
                if let Type::Struct(name) = inside(&field.holds) {
                    assert!(by_name(name).is_some(), "{name}, of {}.{}", one.name, field.name);
                }
            }
        }
    }

    #[test]
    fn every_kind_that_is_served_has_a_struct() {
        for resource in Registry::built_in().all() {
            let found = of_kind(&resource.api_version(), &resource.kind);
            assert!(found.is_some(), "{} {}", resource.api_version(), resource.kind);
        }
    }

    #[test]
    fn inline_structs_lend_their_fields() {
        let (owner, field) = by_name("Probe").unwrap().field("httpGet").unwrap();
        assert_eq!((owner.name, &field.holds), ("ProbeHandler", &Type::Struct("HTTPGetAction")));
        let containers = by_name("PodSpec").unwrap().field("containers").unwrap().1;
        assert_eq!(containers.holds.go(), "[]v1.Container");
    }
}
