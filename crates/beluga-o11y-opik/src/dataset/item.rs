//! One item of a dataset, and the id that follows from its content.

use std::{fmt, io::Write, ops::Index, sync::LazyLock};

use beluga_o11y::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{OpikDataset, OpikError};

/// One item of a dataset: any fields, such as a question and the answer that is expected. Opik takes objects only.
///
/// ```
/// use beluga_o11y_opik::DatasetItem;
/// use serde_json::json;
///
/// let item = DatasetItem::new(json!({"question": "What is the capital of France?", "expected": "Paris"}));
/// assert_eq!(item["expected"], "Paris");
/// assert!(item["reason"].is_null());
/// ```
#[derive(Clone)]
pub struct DatasetItem {
    id: Option<Uuid>,
    /// The dataset that it was read from.
    dataset: Option<Uuid>,
    data: Result<Map<String, Value>, OpikError>,
}

impl DatasetItem {
    /// An item from anything that serialises to an object with at least one field. What is wrong with it is told where
    /// it is inserted.
    pub fn new(data: impl Serialize) -> Self {
        Self {
            id: None,
            dataset: None,
            data: object(data),
        }
    }

    /// Sets the id, a UUID of version 7. An item with the id of one that is there replaces it. Default: one that
    /// follows from the dataset and the content.
    #[must_use]
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = Some(id);
        self
    }

    /// Of an item that was read from Opik.
    pub(crate) fn stored(dataset: Uuid, id: Uuid, data: Map<String, Value>) -> Self {
        Self {
            id: Some(id),
            dataset: Some(dataset),
            data: Ok(data),
        }
    }

    /// The id. An item that a dataset lists has one.
    pub fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// The fields; none of an item that cannot be kept.
    pub fn data(&self) -> &Map<String, Value> {
        static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        self.data.as_ref().unwrap_or(&NONE)
    }

    /// Reads the item as a type of one's own.
    ///
    /// # Errors
    ///
    /// The fields are not those of the type.
    ///
    /// ```
    /// use beluga_o11y_opik::DatasetItem;
    /// use serde_json::json;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Question {
    ///     question: String,
    /// }
    ///
    /// let item = DatasetItem::new(json!({"question": "Who?", "expected": "me"}));
    /// let Question { question } = item.read()?;
    /// assert_eq!(question, "Who?");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn read<'de, T: Deserialize<'de>>(&'de self) -> serde_json::Result<T> {
        T::deserialize(self.data())
    }

    /// The id, if it can be an item of this dataset.
    pub(crate) fn id_in(&self, dataset: &OpikDataset) -> Result<Uuid, OpikError> {
        if self.dataset.is_some_and(|own| own != dataset.id()) {
            return Err(OpikError::ItemOfAnotherDataset {
                dataset: dataset.name().to_owned(),
            });
        }
        self.id.ok_or(OpikError::ItemWithoutId)
    }

    /// The fields, if Opik would take them.
    pub(crate) fn checked(&self) -> Result<&Map<String, Value>, OpikError> {
        let data = self.data.as_ref().map_err(Clone::clone)?;
        if data.is_empty() {
            return Err(OpikError::ItemWithoutData);
        }
        Ok(data)
    }
}

fn object(data: impl Serialize) -> Result<Map<String, Value>, OpikError> {
    let json = Json::try_new(&data).map_err(OpikError::ItemContent)?;
    let found = match json.read() {
        Ok(Value::Object(data)) => return Ok(data),
        Ok(Value::Null) | Err(_) => return Err(OpikError::ItemWithoutData),
        Ok(Value::Bool(_)) => "true or false",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::String(_)) => "a string",
        Ok(Value::Array(_)) => "an array",
    };
    Err(OpikError::ItemNotAnObject { found })
}

/// A field, or null if there is none of this name.
impl Index<&str> for DatasetItem {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        self.data().get(field).unwrap_or(&Value::Null)
    }
}

/// Shows the id and the size, never content.
impl fmt::Debug for DatasetItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatasetItem")
            .field("id", &self.id)
            .field("fields", &self.data.as_ref().map(Map::len))
            .finish()
    }
}

/// Stands for the content of an item in a dataset: the same for the same fields in any order.
pub(crate) fn content_hash(dataset: Uuid, data: &Map<String, Value>) -> Uuid {
    let mut text = Vec::new();
    write_object(data, &mut text);
    Uuid::new_v5(&dataset, &text)
}

/// JSON with the keys of each object in order, whatever order serde_json's maps keep. As deep as `Json` allows.
fn write_object(fields: &Map<String, Value>, text: &mut Vec<u8>) {
    let mut fields: Vec<_> = fields.iter().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    text.push(b'{');
    for (name, value) in fields {
        let _ = serde_json::to_writer(&mut *text, name);
        text.push(b':');
        write_value(value, text);
        text.push(b',');
    }
    text.push(b'}');
}

fn write_value(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => write_object(fields, text),
        Value::Array(values) => {
            text.push(b'[');
            for value in values {
                write_value(value, text);
                text.push(b',');
            }
            text.push(b']');
        }
        // JSON libraries differ in the last digit.
        Value::Number(number) if number.is_f64() => {
            let _ = write!(text, "{:.14e}", number.as_f64().unwrap_or_default());
        }
        plain => {
            let _ = serde_json::to_writer(text, plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(data: Value) -> Uuid {
        let item = DatasetItem::new(data);
        content_hash(Uuid::NAMESPACE_URL, item.data())
    }

    #[test]
    fn the_hash_is_of_the_content_whatever_its_order() {
        let one: Value =
            serde_json::from_str(r#"{"a":{"x":[1,{"p":1,"q":2}],"y":2},"b":null}"#).unwrap();
        let same: Value =
            serde_json::from_str(r#"{"b":null,"a":{"y":2,"x":[1,{"q":2,"p":1}]}}"#).unwrap();
        assert_eq!(hash(one.clone()), hash(same));
        let others = [
            json!({"a": {"x": [1, {"p": 1, "q": 2}], "y": 2}}),
            json!({"a": {"x": [{"p": 1, "q": 2}, 1], "y": 2}, "b": null}),
            json!({"a": {"x": [1, {"p": 1.0, "q": 2}], "y": 2}, "b": null}),
            json!({"a": {"x": [1, {"p": "1", "q": 2}], "y": 2}, "b": null}),
            json!({"a": "{\"x\":1}"}),
            json!({"a": {"x": 1}}),
        ];
        let mut hashes: Vec<_> = others.into_iter().chain([one]).map(hash).collect();
        let data = json!({"a": 1});
        let data = data.as_object().unwrap();
        hashes.push(content_hash(Uuid::NAMESPACE_URL, data));
        hashes.push(content_hash(Uuid::NAMESPACE_DNS, data));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), count);
    }

    #[test]
    fn numbers_are_the_same_to_15_digits() {
        let same = |one: f64, other: f64| hash(json!({ "n": one })) == hash(json!({ "n": other }));
        assert!(same(0.1 + 0.2, 0.3));
        assert!(same(1.234_567_890_123_451e-7, 1.234_567_890_123_449e-7));
        assert!(!same(1.234_567_890_123_45, 1.234_567_890_123_46));
        let whole = |number: u64| hash(json!({ "n": number }));
        assert_ne!(whole(u64::MAX), whole(u64::MAX - 1));
    }

    /// An item must have the same id in every version of this crate, or it would be there twice.
    #[test]
    fn the_hash_stays_the_same_for_ever() {
        let content = json!({"question": "q", "n": [1, 2.5, true, null], "o": {"b": "ü", "a": {}}});
        assert_eq!(
            hash(content).to_string(),
            "fac6625c-1307-5add-b9b8-c4e803de0b15"
        );
    }

    #[test]
    fn what_is_no_item_is_told() {
        let problem = |data: Value| {
            let item = DatasetItem::new(data);
            item.checked().unwrap_err().to_string()
        };
        assert!(problem(json!({})).starts_with("opik: dataset item: it has no data"));
        assert!(problem(json!(null)).starts_with("opik: dataset item: it has no data"));
        for (data, found) in [
            (json!([1]), "an array"),
            (json!("x"), "a string"),
            (json!(1), "a number"),
            (json!(true), "true or false"),
        ] {
            let text = format!("opik: dataset item: it is {found}, and Opik takes objects");
            assert!(problem(data).starts_with(&text));
        }
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        assert!(problem(deep).contains("levels deep"));
    }
}
