//! Lists of words that an operator or a backend puts by calls. They are in the database, so that every logic node has them, also after a
//! restart: a node looks now and then whether they changed.

use std::sync::Arc;

use gim_proto::{
    check,
    logic::{GetWordsReply, GetWordsRequest, PutWordsReply, PutWordsRequest, WordListKind},
};
use tokio::sync::Mutex;

use crate::{
    clients::word_lists::WordLists,
    domain::{clock, word_filter::WordAction},
    error::Error,
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
}

impl ListedWords {
    /// Of a list, a call may have so many bytes.
    pub fn new(lists: WordLists, stored: StoredWordLists, bytes_max: u64) -> Self {
        Self { lists, stored, bytes_max, versions: Arc::default() }
    }

    /// Puts a list in the place of the one of its kind. Here it holds when this returns.
    pub async fn put(&self, request: PutWordsRequest) -> Result<PutWordsReply, Error> {
        let kind = request.kind();
        let action = action_of(kind)?;
        check::size("words", &request.words, usize::try_from(self.bytes_max).unwrap_or(usize::MAX))?;
        let (lists, words) = (self.lists.clone(), request.words);
        let (words, checked) = blocking(move || {
            let checked = lists.check(action, &words);
            (words, checked)
        })
        .await;
        let count = checked.map_err(|problem| check::invalid("words", problem))?;
        self.stored.put(i64::from(i32::from(kind)), &words, clock::now_ms()).await?;
        self.refresh().await?;
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

    /// Judges by what is stored, where that is something else than before. Lists of which this node can make nothing change nothing.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut versions = self.versions.lock().await;
        if self.stored.versions().await? == *versions {
            return Ok(());
        }
        let all = self.stored.all().await?;
        *versions = all.iter().map(|list| list.version).collect();
        let kept = |list: StoredWordList| {
            let kind = i32::try_from(list.kind).ok().and_then(|kind| WordListKind::try_from(kind).ok())?;
            Some((action_of(kind).ok()?, list.words))
        };
        let (lists, all) = (self.lists.clone(), all.into_iter().filter_map(kept).collect::<Vec<_>>());
        if let Err(problem) = blocking(move || lists.put(&all)).await {
            tracing::error!(problem, "lists of words that were put are of no use here: the old ones hold");
        }
        Ok(())
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
