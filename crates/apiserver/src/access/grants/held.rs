//! The rules that a caller has: which of them allow an element of a list.

use std::collections::HashMap;

use serde_json::Value;
use weft_controllers::object::items;

/// The lists of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum RuleDimension {
    Verbs,
    Groups,
    Resources,
    Names,
    Paths,
}

impl RuleDimension {
    const ALL: [Self; 5] = [Self::Verbs, Self::Groups, Self::Resources, Self::Names, Self::Paths];

    pub(super) fn of(self, rule: &Value) -> impl Iterator<Item = &str> {
        let field = match self {
            Self::Verbs => "verbs",
            Self::Groups => "apiGroups",
            Self::Resources => "resources",
            Self::Names => "resourceNames",
            Self::Paths => "nonResourceURLs",
        };
        items(&rule[field]).filter_map(Value::as_str)
    }
}

/// The caller's own rules: which of them have an element in a list.
pub(super) struct GrantedRules<'o> {
    pub(super) count: usize,
    having: HashMap<(RuleDimension, &'o str), Vec<usize>>,
    /// Rules about objects of all names.
    of_all_names: Vec<usize>,
    /// Beginnings of paths, each with the rules that allow all that begin so.
    pub(super) beginnings: Vec<(&'o str, usize)>,
}

impl<'o> GrantedRules<'o> {
    pub(super) fn of(rules: &'o [Value]) -> Self {
        let mut own = Self {
            count: rules.len(),
            having: HashMap::new(),
            of_all_names: Vec::new(),
            beginnings: Vec::new(),
        };
        for (index, rule) in rules.iter().enumerate() {
            for list in RuleDimension::ALL {
                for element in list.of(rule) {
                    own.having.entry((list, element)).or_default().push(index);
                }
            }
            let beginnings =
                RuleDimension::Paths.of(rule).filter_map(|path| path.strip_suffix('*'));
            own.beginnings.extend(beginnings.map(|beginning| (beginning, index)));
            if RuleDimension::Names.of(rule).next().is_none() {
                own.of_all_names.push(index);
            }
        }
        own
    }

    /// The rules whose `list` covers `element`; an empty name stands for all names.
    pub(super) fn covering(&self, list: RuleDimension, element: &str) -> Rules {
        let mut rules = Rules::none(self.count);
        let mut add = |element: &str| {
            let having = self.having.get(&(list, element));
            having.into_iter().flatten().for_each(|index| rules.insert(*index));
        };
        add(element);
        if list != RuleDimension::Names {
            add("*");
        }
        if let (RuleDimension::Resources, Some((_, subresource))) = (list, element.split_once('/'))
        {
            add(&format!("*/{subresource}"));
        }
        if list == RuleDimension::Names {
            self.of_all_names.iter().for_each(|index| rules.insert(*index));
        }
        if list == RuleDimension::Paths {
            let fitting = self.beginnings.iter().filter(|(start, _)| element.starts_with(start));
            fitting.for_each(|(_, index)| rules.insert(*index));
        }
        rules
    }
}

/// Some of the caller's own rules: one bit for each.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Rules(Vec<u64>);

impl Rules {
    fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(super) fn all(count: usize) -> Self {
        let mut all = Self::none(count);
        (0..count).for_each(|index| all.insert(index));
        all
    }

    fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| one & other).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}
