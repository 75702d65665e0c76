//! Constraints of request bodies, and what is said of those that are broken.

use crate::opik::json::Unreadable;

/// Elements that a batch may have (Opik: `TraceBatch`, `SpanBatch`, `DatasetItemBatch`, `FeedbackScoreBatch` and others).
const MAX_BATCH: usize = 1000;
/// Characters of a project's name; the column is VARCHAR(150).
const MAX_PROJECT_NAME: usize = 150;
/// Characters of a dataset's name and of its description; the columns are VARCHAR(255).
pub(crate) const MAX_DATASET_TEXT: usize = 255;

/// Why a body is refused before its ids are looked at.
#[derive(Debug)]
pub(crate) enum Refused {
    /// 400
    Unreadable(String),
    /// 422
    Broken(Vec<String>),
}

impl From<Unreadable> for Refused {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable.0)
    }
}

/// Constraint violations, each with its path in camelCase, as Jakarta Validation reports them.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<String>);

impl Errors {
    /// The fields at a path that ends with a dot, or at none.
    pub(crate) fn at(&mut self, path: String) -> Broken<'_> {
        Broken {
            errors: &mut self.0,
            path,
        }
    }

    /// The fields of the body itself.
    pub(crate) fn top(&mut self) -> Broken<'_> {
        self.at(String::new())
    }

    /// A batch has to be there, has 1 to 1000 elements, and each of them is checked.
    pub(crate) fn batch<T>(
        &mut self,
        field: &str,
        batch: Option<&[T]>,
        check: impl Fn(&T, &mut Broken<'_>),
    ) {
        let Some(batch) = batch else {
            return self.top().if_true(true, field, "must not be null");
        };
        let complaint = format!("size must be between 1 and {MAX_BATCH}");
        let fits = (1..=MAX_BATCH).contains(&batch.len());
        self.top().if_true(!fits, field, &complaint);
        for (index, element) in batch.iter().enumerate() {
            check(element, &mut self.at(format!("{field}[{index}].")));
        }
    }

    /// Refuses the body if something is broken.
    pub(crate) fn refuse(self) -> Result<(), Refused> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refused::Broken(self.0))
        }
    }
}

/// The violations of the fields at one path.
#[derive(Debug)]
pub(crate) struct Broken<'a> {
    errors: &'a mut Vec<String>,
    /// `traces[0].`, or nothing.
    path: String,
}

impl Broken<'_> {
    pub(crate) fn if_true(&mut self, broken: bool, field: &str, complaint: &str) {
        if broken {
            let error = format!("{}{field} {complaint}", self.path);
            self.errors.push(error);
        }
    }

    /// A rule of the whole body, which says itself what it is about.
    pub(crate) fn unless_true(&mut self, holds: bool, complaint: &str) {
        if !holds {
            self.errors.push(complaint.to_owned());
        }
    }

    /// What is there must not be blank (Opik: `@Pattern(NULL_OR_NOT_BLANK)`).
    pub(crate) fn if_blank(&mut self, field: &str, text: Option<&str>) {
        self.if_true(text.is_some_and(blank), field, "must not be blank");
    }

    /// It must be there and not be blank (Jakarta: `@NotBlank`).
    pub(crate) fn unless_named(&mut self, field: &str, text: Option<&str>) {
        self.if_true(text.is_none_or(blank), field, "must not be blank");
    }

    pub(crate) fn if_null<T>(&mut self, field: &str, value: Option<&T>) {
        self.if_true(value.is_none(), field, "must not be null");
    }

    /// A text has at most that many characters.
    pub(crate) fn if_longer(&mut self, field: &str, text: Option<&str>, max: usize) {
        let too_long = text.is_some_and(|text| text.chars().count() > max);
        let complaint = format!("size must be between 0 and {max}");
        self.if_true(too_long, field, &complaint);
    }

    /// A project's name, if there is one.
    pub(crate) fn check_project_name(&mut self, name: Option<&str>) {
        self.if_blank("projectName", name);
        self.if_longer("projectName", name.map(str::trim), MAX_PROJECT_NAME);
    }
}

pub(crate) fn blank(text: &str) -> bool {
    text.trim().is_empty()
}
