//! A filter's own table as JSON, with the place of every value in it noted.

use serde_json::{Map, Number, Value as Json};
use toml::de::DeValue;

use super::model::ConfigOrigin;
use super::value::Value;

/// Converts a table; what JSON can't say is reported and left out.
pub(super) fn table(value: &Value<'_>, origin: &mut ConfigOrigin) -> Json {
    match value.raw() {
        DeValue::Table(_) => convert(value, &mut Vec::new(), origin).unwrap_or_else(empty),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => {
            value.error("expected a table");
            empty()
        }
    }
}

/// What a filter without a table gets.
pub(super) fn empty() -> Json {
    Json::Object(Map::new())
}

fn convert(value: &Value<'_>, path: &mut Vec<String>, origin: &mut ConfigOrigin) -> Option<Json> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    origin.note(&parts, value.place());
    match value.raw() {
        DeValue::String(text) => Some(Json::from(text.as_ref())),
        DeValue::Boolean(flag) => Some(Json::Bool(*flag)),
        DeValue::Datetime(date) => Some(Json::from(date.to_string())),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
            if number.is_none() {
                value.error("the number is too large");
            }
            number.map(Json::from)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse::<f64>().ok().and_then(Number::from_f64);
            if number.is_none() {
                value.error("a filter's configuration is JSON, which has no such number");
            }
            number.map(Json::Number)
        }
        DeValue::Array(_) => {
            let items = value.list().unwrap_or_default();
            let mut array = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                array.extend(convert(item, path, origin));
                path.pop();
            }
            Some(Json::Array(array))
        }
        DeValue::Table(_) => {
            let section = value.section()?;
            let mut object = Map::new();
            for (key, _, item) in section.entries() {
                path.push(key.to_owned());
                if let Some(json) = convert(&item, path, origin) {
                    object.insert(key.to_owned(), json);
                }
                path.pop();
            }
            Some(Json::Object(object))
        }
    }
}
