//! Lists of words that an operator or a backend puts by calls. They are in the database, so that every logic node has them, also after a
//! restart: a node looks now and then whether they changed.
//!
//! Always holds: what is said to be put is what messages are judged by, here at once; and what is stored but of no use here is looked at
//! again until it is.

use std::{sync::Arc, time::Instant};

use gim_config::seldom::Seldom;
use gim_proto::{
    check,
    logic::{GetWordsReply, GetWordsRequest, PutWordsReply, PutWordsRequest, WordListKind},
};
use metrics::gauge;
use tokio::sync::Mutex;

use crate::{
    clients::word_lists::WordLists,
    domain::{clock, word_filter::WordAction},
    error::Error,
    metrics as names,
    store::{StoreError, StoredWordLists, word_list::StoredWordList},
};

/// See the module's documentation. Clones share everything.
#[derive(Debug, Clone)]
pub struct ListedWords {
    lists: WordLists,
    stored: StoredWordLists,
    bytes_max: u64,
    /// By which versions it is judged here. Locked while they change, one change after the other.
    versions: Arc<Mutex<Vec<i64>>>,
    told: Arc<Seldom>,
}

/// Why it is not judged by what is stored.
#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    /// That is not known.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is of no use with the settings of this node.
    #[error("the lists of words that were put are of no use here: {0}")]
    Unusable(String),
}

impl ListedWords {
    /// Of a list, a call may have so many bytes.
    pub fn new(lists: WordLists, stored: StoredWordLists, bytes_max: u64) -> Self {
        Self { lists, stored, bytes_max, versions: Arc::default(), told: Arc::default() }
    }

    /// Puts a list in the place of the one of its kind. Here it holds when this returns.
    pub async fn put(&self, request: PutWordsRequest) -> Result<PutWordsReply, Error> {
        let kind = request.kind();
        let action = action_of(kind)?;
        check::size("words", &request.words, usize::try_from(self.bytes_max).unwrap_or(usize::MAX))?;
        let mut versions = self.versions.lock().await;
        // The other lists may have come through another node.
        self.judge_by_stored(&mut versions).await?;
        let (lists, words) = (self.lists.clone(), request.words);
        let (words, checked) = blocking(move || {
            let checked = lists.check(action, &words);
            (words, checked)
        })
        .await;
        let count = checked.map_err(|problem| check::invalid("words", problem))?;
        let kind_number = i64::from(i32::from(kind));
        let before = self.stored.all().await?.into_iter().find(|list| list.kind == kind_number);
        self.stored.put(kind_number, &words, clock::now_ms()).await?;
        if let Err(problem) = self.judge_by_stored(&mut versions).await {
            // Another node put another list at this moment: together they are too much.
            let before = before.map_or_else(String::new, |list| list.words);
            self.stored.put(kind_number, &before, clock::now_ms()).await?;
            return Err(problem.into());
        }
        tracing::info!(kind = kind.as_str_name(), count, "a list of words was put");
        Ok(PutWordsReply { count: u32::try_from(count).unwrap_or(u32::MAX) })
    }

    /// A list as it was put.
    pub async fn get(&self, request: GetWordsRequest) -> Result<GetWordsReply, Error> {
        let kind = i64::from(request.kind);
        action_of(request.kind())?;
        let found = self.stored.all().await?.into_iter().find(|list| list.kind == kind);
        Ok(found.map_or_else(GetWordsReply::default, |list| GetWordsReply {
            words: list.words,
            changed_at_ms: list.changed_at_ms,
        }))
    }

    /// Judges by what is stored, where that is something else than before. Where this node can make nothing of it, the old lists hold.
    pub async fn refresh(&self) -> Result<(), WordsError> {
        let judged = self.judge_by_stored(&mut *self.versions.lock().await).await;
        let is_unusable = matches!(judged, Err(WordsError::Unusable(_)));
        gauge!(names::WORD_LISTS_UNUSABLE).set(f64::from(u8::from(is_unusable)));
        judged
    }

    /// Says now and then what became of a refresh that nobody asked for.
    pub fn tell(&self, problem: &WordsError) {
        if let Some(untold) = self.told.due(Instant::now()) {
            tracing::error!(%problem, untold, "the old lists of words hold");
        }
    }

    async fn judge_by_stored(&self, versions: &mut Vec<i64>) -> Result<(), WordsError> {
        if self.stored.versions().await? == *versions {
            return Ok(());
        }
        let all = self.stored.all().await?;
        let of_all = all.iter().map(|list| list.version).collect();
        let kept = |list: StoredWordList| {
            let kind = i32::try_from(list.kind).ok().and_then(|kind| WordListKind::try_from(kind).ok())?;
            Some((action_of(kind).ok()?, list.words))
        };
        let (lists, all) = (self.lists.clone(), all.into_iter().filter_map(kept).collect::<Vec<_>>());
        blocking(move || lists.put(&all)).await.map_err(WordsError::Unusable)?;
        *versions = of_all;
        Ok(())
    }
}

impl From<WordsError> for Error {
    fn from(error: WordsError) -> Self {
        match error {
            WordsError::Store(error) => error.into(),
            WordsError::Unusable(problem) => check::invalid("words", problem).into(),
        }
    }
}

fn action_of(kind: WordListKind) -> Result<WordAction, Error> {
    match kind {
        WordListKind::WlkUnknown => Err(check::invalid("kind", "must be set").into()),
        WordListKind::WlkRefuse => Ok(WordAction::Refuse),
        WordListKind::WlkMask => Ok(WordAction::Mask),
        WordListKind::WlkFlag => Ok(WordAction::Flag),
    }
}

/// A list of a hundred thousand words takes a moment.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic, and is not aborted")
}
