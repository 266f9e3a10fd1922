//! The lists of words that users may not say, as the files of the settings have them. Any task.
//!
//! Always holds: files that are of no use change nothing, and a message is judged by one state of all lists.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    domain::word_filter::{WordAction, WordFilter, Words},
    settings::WordFilterSettings,
};

/// Clones share the lists, which may become others while it runs.
#[derive(Debug, Clone)]
pub struct WordLists(Arc<RwLock<Option<Arc<WordFilter>>>>);

/// Lists that were read, and by which nothing is judged yet.
#[derive(Debug)]
pub struct NextWords(Option<Arc<WordFilter>>);

impl WordLists {
    /// Reads the files of the settings.
    pub fn new(settings: &WordFilterSettings) -> Result<Self, String> {
        Ok(Self(Arc::new(RwLock::new(read(settings)?))))
    }

    /// Reads the files of the settings, for [`WordLists::take_over`].
    ///
    /// # Errors
    /// Where one is of no use.
    pub fn read_files(settings: &WordFilterSettings) -> Result<NextWords, String> {
        read(settings).map(NextWords)
    }

    /// Judges by these from now on.
    pub fn take_over(&self, NextWords(next): NextWords) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Those of this moment; none where there is no word at all.
    pub fn now(&self) -> Option<Arc<WordFilter>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(settings: &WordFilterSettings) -> Result<Option<Arc<WordFilter>>, String> {
    let words = words(settings)?;
    if words.count() == 0 {
        return Ok(None);
    }
    let filter = words.build().map_err(|error| format!("word_filter: {error}"))?;
    Ok(Some(Arc::new(filter)))
}

fn words(settings: &WordFilterSettings) -> Result<Words, String> {
    let mut words = Words::default();
    for (key, files, action) in
        [("refuse", &settings.refuse, WordAction::Refuse), ("mask", &settings.mask, WordAction::Mask)]
    {
        for (index, file) in files.iter().enumerate() {
            add(&mut words, settings, file, action)
                .map_err(|problem| format!("word_filter.{key}[{index}]: {}: {problem}", file.display()))?;
        }
    }
    Ok(words)
}

fn add(words: &mut Words, settings: &WordFilterSettings, file: &Path, action: WordAction) -> Result<(), String> {
    let list = read_text(file, settings.file_bytes_max)?;
    words.add(&list, action).map_err(|line| line.to_string())?;
    if words.count() > settings.words_max {
        return Err(format!("there are more than {} words (word_filter.words_max)", settings.words_max));
    }
    Ok(())
}

fn read_text(file: &Path, bytes_max: u64) -> Result<String, String> {
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| error.to_string())?;
    let length = opened.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if length as u64 > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes (word_filter.file_bytes_max)"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::word_filter::Verdict;

    fn judge(lists: &WordLists, text: &str) -> Verdict {
        lists.now().map_or(Verdict::Clean, |filter| filter.check(text))
    }

    #[test]
    fn files_that_are_of_no_use_are_named_and_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words.txt");
        std::fs::write(&file, "badword\n").unwrap();
        let mut settings = WordFilterSettings { refuse: vec![file.clone()], ..WordFilterSettings::default() };
        let lists = WordLists::new(&settings).unwrap();
        assert_eq!(judge(&lists, "a bad-word, a badword"), Verdict::Refused);
        let problem = |settings: &WordFilterSettings| WordLists::read_files(settings).unwrap_err();
        std::fs::write(&file, "other\n***\n").unwrap();
        assert_eq!(
            problem(&settings),
            format!("word_filter.refuse[0]: {}: line 2: `***` has no letter", file.display())
        );
        std::fs::write(&file, b"\xff\n").unwrap();
        assert!(problem(&settings).contains("UTF-8"));
        std::fs::write(&file, "one\ntwo\nthree\n").unwrap();
        settings.words_max = 2;
        assert!(problem(&settings).ends_with("more than 2 words (word_filter.words_max)"));
        (settings.words_max, settings.file_bytes_max) = (3, 13);
        assert!(problem(&settings).ends_with("more than 13 bytes (word_filter.file_bytes_max)"));
        settings.mask.push(folder.path().join("gone.txt"));
        settings.file_bytes_max = 14;
        assert!(problem(&settings).starts_with("word_filter.mask[0]: "));
        assert_eq!(judge(&lists, "badword"), Verdict::Refused, "what was good holds");
        settings.mask.clear();
        lists.take_over(WordLists::read_files(&settings).unwrap());
        assert_eq!((judge(&lists, "badword"), judge(&lists, "two")), (Verdict::Clean, Verdict::Refused));
        lists.take_over(WordLists::read_files(&WordFilterSettings::default()).unwrap());
        assert!(lists.now().is_none());
    }
}
