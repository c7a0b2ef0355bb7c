//! Collecting what is wrong with an object, with Kubernetes' words for it.

use serde_json::Value;

use super::names::Rule;
use crate::status::Cause;

/// What is wrong with an object.
#[derive(Debug, Default)]
pub struct Causes(pub Vec<Cause>);

impl Causes {
    /// A field has to be there.
    pub fn required(&mut self, field: impl Into<String>, message: &str) {
        self.0.push(Cause::required(field, message));
    }

    /// A field has a value that cannot be.
    pub fn invalid(&mut self, field: impl Into<String>, value: &Value, message: &str) {
        self.0.push(Cause::invalid(field, value, message));
    }

    /// A field may not be there, or not be changed.
    pub fn forbidden(&mut self, field: impl Into<String>, message: &str) {
        let message = format!("Forbidden: {message}");
        self.0.push(Cause { field: field.into(), message, reason: "FieldValueForbidden" });
    }

    /// A value may stand only once.
    pub fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        let message = format!("Duplicate value: {value}");
        self.0.push(Cause { field: field.into(), message, reason: "FieldValueDuplicate" });
    }

    /// What a field names is not there.
    pub fn not_found(&mut self, field: impl Into<String>, value: &Value) {
        let message = format!("Not found: {value}");
        self.0.push(Cause { field: field.into(), message, reason: "FieldValueNotFound" });
    }

    /// A field holds more than it may.
    pub fn too_long(&mut self, field: impl Into<String>, most: usize) {
        let message = format!("Too long: may not be more than {most} bytes");
        self.0.push(Cause { field: field.into(), message, reason: "FieldValueTooLong" });
    }

    /// A list holds more than it may.
    pub fn too_many(&mut self, field: impl Into<String>, found: usize, most: usize) {
        let message = format!("Too many: {found}: must have at most {most} items");
        self.0.push(Cause { field: field.into(), message, reason: "FieldValueTooMany" });
    }

    /// A text that is there has to follow a rule.
    pub fn follows(&mut self, field: impl Into<String>, value: &Value, rule: Rule) {
        if let Some(wrong) = value.as_str().and_then(rule) {
            self.invalid(field, value, &wrong);
        }
    }

    /// A text has to be there and follow a rule.
    pub fn named(&mut self, field: impl Into<String>, value: &Value, rule: Rule) {
        match value.as_str() {
            None | Some("") => self.required(field, ""),
            Some(_) => self.follows(field, value, rule),
        }
    }

    /// A text that is there has to be one of a few.
    pub fn one_of(&mut self, field: impl Into<String>, value: &Value, supported: &[&str]) {
        let Some(text) = value.as_str() else { return };
        if !supported.contains(&text) {
            let names: Vec<String> = supported.iter().map(|one| format!("{one:?}")).collect();
            let message =
                format!("Unsupported value: {value}: supported values: {}", names.join(", "));
            self.0.push(Cause { field: field.into(), message, reason: "FieldValueNotSupported" });
        }
    }

    /// A number that is there has to be in a range.
    pub fn within(&mut self, field: impl Into<String>, value: &Value, (least, most): (i64, i64)) {
        if value.as_i64().is_some_and(|number| !(least..=most).contains(&number)) {
            let rule = format!("must be between {least} and {most}, inclusive");
            self.invalid(field, value, &rule);
        }
    }

    /// A number that is there may not be negative.
    pub fn not_negative(&mut self, field: impl Into<String>, value: &Value) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(field, value, "must be greater than or equal to 0");
        }
    }
}
