//! `words`: the lists of words that logic was given by calls.

use std::{fs, io, path::PathBuf};

use clap::ValueEnum;
use gim_proto::logic::{GetWordsRequest, PutWordsRequest, WordListKind, word_int_service_client::WordIntServiceClient};
use serde_json::json;

use crate::{
    answer::Answer,
    remote::{Remote, RemoteArguments, RemoteError},
};

/// What to do with a list.
#[derive(Debug, clap::Subcommand)]
pub enum WordsCommand {
    /// Prints the list of a kind, as it was put
    Get {
        /// Of which kind
        kind: ListKind,
        #[command(flatten)]
        remote: RemoteArguments,
    },
    /// Puts the list in a file in the place of the one of its kind, on all logic nodes; an empty file takes it away
    Put {
        /// Of which kind
        kind: ListKind,
        /// The list: a word in each line, as in the files of `[word_filter]`
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        remote: RemoteArguments,
    },
}

/// What becomes of a message that has a word of the list.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ListKind {
    /// It is refused
    Refuse,
    /// The word is covered
    Mask,
    /// The business is told
    Flag,
}

/// Does it.
pub async fn run(command: WordsCommand) -> Result<Answer, RemoteError> {
    match command {
        WordsCommand::Get { kind, remote } => get(kind, &remote).await,
        WordsCommand::Put { kind, file, remote } => put(kind, file, &remote).await,
    }
}

async fn get(kind: ListKind, remote: &RemoteArguments) -> Result<Answer, RemoteError> {
    let logic = remote.logic()?;
    let request = Remote::request(GetWordsRequest { kind: kind.wire() });
    let reply =
        WordIntServiceClient::new(logic.channel.clone()).max_decoding_message_size(usize::MAX).get(request).await;
    let reply = reply.map_err(|status| logic.error("WordIntService/Get", &status))?.into_inner();
    let json = json!({"words": reply.words.lines().collect::<Vec<_>>(), "changed_at_ms": reply.changed_at_ms});
    Ok(Answer::good(reply.words, json))
}

async fn put(kind: ListKind, file: PathBuf, remote: &RemoteArguments) -> Result<Answer, RemoteError> {
    let words = fs::read_to_string(&file).and_then(whole).map_err(|source| RemoteError::File { path: file, source })?;
    let logic = remote.logic()?;
    let request = Remote::request(PutWordsRequest { kind: kind.wire(), words });
    let reply = WordIntServiceClient::new(logic.channel.clone()).put(request).await;
    let count = reply.map_err(|status| logic.error("WordIntService/Put", &status))?.into_inner().count;
    Ok(Answer::good(format!("{count} words"), json!({"words": count})))
}

/// As logic takes its own files.
fn whole(words: String) -> io::Result<String> {
    if words.is_empty() || words.ends_with('\n') {
        return Ok(words);
    }
    Err(io::Error::other("the last line does not end: the file may be cut"))
}

impl ListKind {
    fn wire(self) -> i32 {
        let kind = match self {
            Self::Refuse => WordListKind::WlkRefuse,
            Self::Mask => WordListKind::WlkMask,
            Self::Flag => WordListKind::WlkFlag,
        };
        kind.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_may_be_cut_is_not_put() {
        let is_taken = |words: &str| whole(words.to_owned()).is_ok();
        assert_eq!(["", "one\n", "one\ntwo\n", "one", "one\ntw"].map(is_taken), [true, true, true, false, false]);
    }
}
