//! Compares the incremental state with a rebuild from the objects alone.

use weft_translate::Translator;

use crate::answers::Snapshot;

/// The answers of which a rebuild thinks otherwise, as text for the log.
pub(crate) fn differences(snapshot: Snapshot) -> Vec<String> {
    let mut fresh = Translator::new();
    let objects = snapshot.objects.into_iter();
    fresh.change(objects.map(|(key, object)| (key, Some((*object).clone()))));
    let answers = snapshot.answers.into_iter();
    answers
        .filter(|(class, interest, resolved)| *fresh.answer(class, interest) != **resolved)
        .map(|(_, interest, _)| interest.to_string())
        .collect()
}
