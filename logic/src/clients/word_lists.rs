//! The lists of words that users may not say, as the files of the settings have them and as calls put them. Any task.
//!
//! Always holds: lists that are of no use change nothing, and a message is judged by one state of all lists.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use gim_proto::typed_content;

use crate::{
    domain::{
        message::Message,
        word_filter::{WordAction, WordFilter, Words},
    },
    settings::WordFilterSettings,
};

/// Words that are named of one message.
const FLAGGED_WORDS_MAX: usize = 16;

/// Clones share the lists, which may become others while it runs.
#[derive(Debug, Clone)]
pub struct WordLists(Arc<SharedWords>);

#[derive(Debug)]
struct SharedWords {
    filter: RwLock<Option<Arc<WordFilter>>>,
    /// Locked while a filter is made, so that none is made of what is old.
    sources: Mutex<WordSources>,
}

/// What a filter is made of.
#[derive(Debug, Default)]
struct WordSources {
    of_files: Words,
    /// As they were put.
    of_calls: Vec<(WordAction, Words)>,
    words_max: usize,
}

/// Files that were read, and by which nothing is judged yet.
#[derive(Debug)]
pub struct NextWords {
    of_files: Words,
    words_max: usize,
}

impl WordLists {
    /// Reads the files of the settings.
    pub fn new(settings: &WordFilterSettings) -> Result<Self, String> {
        let lists = Self(Arc::new(SharedWords { filter: RwLock::default(), sources: Mutex::default() }));
        let next = lists.read_files(settings)?;
        lists.take_over(next)?;
        Ok(lists)
    }

    /// Reads the files of the settings, for [`WordLists::take_over`].
    ///
    /// # Errors
    /// Where one is of no use, or there are too many words with those that calls put.
    pub fn read_files(&self, settings: &WordFilterSettings) -> Result<NextWords, String> {
        let next = NextWords { of_files: words(settings)?, words_max: settings.words_max };
        let sources = self.sources();
        let of_calls: usize = sources.of_calls.iter().map(|(_, words)| words.count()).sum();
        check_count(next.of_files.count() + of_calls, settings.words_max)?;
        Ok(next)
    }

    /// Judges by these from now on.
    pub fn take_over(&self, NextWords { of_files, words_max }: NextWords) -> Result<(), String> {
        let mut sources = self.sources();
        let (before, words) = (sources.of_files.count(), of_files.count());
        let next = WordSources { of_files, of_calls: sources.of_calls.clone(), words_max };
        self.judge_by(&mut sources, next)?;
        match words {
            // Meant, or the file was cut: nobody else would notice.
            0 if before > 0 => {
                tracing::warn!(before, "the files of words have none any more, and nothing is filtered by them")
            }
            _ => tracing::info!(words, before, "the files of words were read"),
        }
        Ok(())
    }

    /// What a list says, and how many words there are in it.
    ///
    /// # Errors
    /// Where it is of no use, or would be too much with the others.
    pub fn check(&self, action: WordAction, list: &str) -> Result<usize, String> {
        let words = listed(action, list)?;
        let sources = self.sources();
        let others = sources.of_calls.iter().filter(|(other, _)| *other != action).map(|(_, words)| words.count());
        check_count(words.count() + sources.of_files.count() + others.sum::<usize>(), sources.words_max)?;
        Ok(words.count())
    }

    /// Judges by these lists, and by those of the files, from now on.
    ///
    /// # Errors
    /// As [`WordLists::check`].
    pub fn put(&self, lists: &[(WordAction, String)]) -> Result<(), String> {
        let read = lists.iter().map(|(action, list)| Ok((*action, listed(*action, list)?)));
        let of_calls = read.collect::<Result<Vec<_>, String>>()?;
        let mut sources = self.sources();
        let next = WordSources { of_files: sources.of_files.clone(), of_calls, words_max: sources.words_max };
        self.judge_by(&mut sources, next)
    }

    /// Those of this moment; none where there is no word at all.
    pub fn now(&self) -> Option<Arc<WordFilter>> {
        self.0.filter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The words for which the business is told of a stored message of a user, as the lists have them, up to [`FLAGGED_WORDS_MAX`]. Judged
    /// when it is asked, by the lists of that moment: a send stores nothing for it.
    pub fn flagged(&self, message: &Message) -> Vec<String> {
        let is_typed = message.sender_id != 0 && typed_content::COMMANDS.contains(&message.command);
        let Some(filter) = self.now().filter(|filter| is_typed && filter.flags()) else { return Vec::new() };
        let mut found = Vec::new();
        let looked: Result<(), ()> = typed_content::try_for_each_text(message.command, &message.said(), &mut |text| {
            for word in filter.flagged(text) {
                if !found.iter().any(|other| other == word) {
                    found.push(word.to_owned());
                }
            }
            if found.len() < FLAGGED_WORDS_MAX { Ok(()) } else { Err(()) }
        });
        if looked.is_err() {
            found.truncate(FLAGGED_WORDS_MAX);
        }
        found
    }

    fn sources(&self) -> MutexGuard<'_, WordSources> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge_by(&self, sources: &mut WordSources, next: WordSources) -> Result<(), String> {
        let mut all = next.of_files.clone();
        next.of_calls.iter().for_each(|(_, words)| all.append(words.clone()));
        check_count(all.count(), next.words_max)?;
        let filter = match all.count() {
            0 => None,
            _ => Some(Arc::new(all.build().map_err(|error| format!("word_filter: {error}"))?)),
        };
        *sources = next;
        *self.0.filter.write().unwrap_or_else(PoisonError::into_inner) = filter;
        Ok(())
    }
}

fn listed(action: WordAction, list: &str) -> Result<Words, String> {
    let mut words = Words::default();
    words.add(list, action).map_err(|line| line.to_string())?;
    Ok(words)
}

fn check_count(count: usize, words_max: usize) -> Result<(), String> {
    if count > words_max {
        return Err(format!("there are more than {words_max} words (word_filter.words_max)"));
    }
    Ok(())
}

fn words(settings: &WordFilterSettings) -> Result<Words, String> {
    let mut words = Words::default();
    for (key, files, action) in [
        ("refuse", &settings.refuse, WordAction::Refuse),
        ("mask", &settings.mask, WordAction::Mask),
        ("flag", &settings.flag, WordAction::Flag),
    ] {
        for (index, file) in files.iter().enumerate() {
            add(&mut words, settings, file, action)
                .map_err(|problem| format!("word_filter.{key}[{index}]: {}: {problem}", file.display()))?;
        }
    }
    Ok(words)
}

fn add(words: &mut Words, settings: &WordFilterSettings, file: &Path, action: WordAction) -> Result<(), String> {
    let list = read_text(file, settings.file_bytes_max)?;
    if !(list.is_empty() || list.ends_with('\n')) {
        return Err("the last line does not end: the file may be cut".into());
    }
    words.add(&list, action).map_err(|line| line.to_string())?;
    check_count(words.count(), settings.words_max)
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
        let problem = |settings: &WordFilterSettings| lists.read_files(settings).unwrap_err();
        std::fs::write(&file, "other\n***\n").unwrap();
        assert_eq!(
            problem(&settings),
            format!("word_filter.refuse[0]: {}: line 2: `***` has no letter", file.display())
        );
        for cut in [&b"\xff\n"[..], &"badword\n骗子".as_bytes()[..13]] {
            std::fs::write(&file, cut).unwrap();
            assert!(problem(&settings).contains("UTF-8"), "{cut:?}");
        }
        std::fs::write(&file, "badword\nassassin").unwrap();
        assert!(problem(&settings).ends_with("the last line does not end: the file may be cut"));
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
        lists.take_over(lists.read_files(&settings).unwrap()).unwrap();
        assert_eq!((judge(&lists, "badword"), judge(&lists, "two")), (Verdict::Clean, Verdict::Refused));
        lists.take_over(lists.read_files(&WordFilterSettings::default()).unwrap()).unwrap();
        assert!(lists.now().is_none());
    }

    #[test]
    fn a_list_of_a_million_words_is_refused_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words.txt");
        std::fs::write(&file, "badword\n").unwrap();
        let settings = WordFilterSettings { refuse: vec![file.clone()], ..WordFilterSettings::default() };
        let lists = WordLists::new(&settings).unwrap();
        let million: String = (0..1_000_000).map(|number| format!("w{number}\n")).collect();
        std::fs::write(&file, &million).unwrap();
        assert!(lists.read_files(&settings).unwrap_err().ends_with("more than 200000 words (word_filter.words_max)"));
        assert!(lists.check(WordAction::Mask, &million).is_err() && lists.put(&[(WordAction::Mask, million)]).is_err());
        assert_eq!((judge(&lists, "badword"), judge(&lists, "w77")), (Verdict::Refused, Verdict::Clean));
    }

    #[test]
    fn lists_of_calls_come_to_those_of_files_and_share_their_bound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("words.txt");
        std::fs::write(&file, "one\n").unwrap();
        let settings = WordFilterSettings { refuse: vec![file.clone()], words_max: 3, ..WordFilterSettings::default() };
        let lists = WordLists::new(&settings).unwrap();
        assert_eq!(lists.check(WordAction::Mask, "two\nthree\n"), Ok(2));
        let too_many = Err("there are more than 3 words (word_filter.words_max)".to_owned());
        assert_eq!(lists.check(WordAction::Mask, "two\nthree\nfour\n"), too_many);
        assert_eq!(lists.check(WordAction::Mask, "two\n*\n"), Err("line 2: `*` has no letter".into()));
        lists.put(&[(WordAction::Mask, "two".into()), (WordAction::Flag, "three".into())]).unwrap();
        let judged = ["one", "two", "three"].map(|text| judge(&lists, text));
        assert_eq!(judged, [Verdict::Refused, Verdict::Masked("***".into()), Verdict::Flagged]);
        assert_eq!(lists.now().unwrap().flagged("one two three").into_iter().collect::<Vec<_>>(), ["three"]);
        std::fs::write(&file, "one\nfour\n").unwrap();
        assert_eq!(lists.read_files(&settings).map(|_| ()), too_many.map(|_| ()));
        lists.put(&[]).unwrap();
        lists.take_over(lists.read_files(&settings).unwrap()).unwrap();
        assert_eq!(["two", "four"].map(|text| judge(&lists, text)), [Verdict::Clean, Verdict::Refused]);
    }
}
