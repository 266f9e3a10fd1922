//! The ten lines of the README of all SDKs.
#![allow(clippy::print_stdout, reason = "that is what it is for")]

use gim_client::{Client, Event, Options, Target, text_of};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("GIM_URL").unwrap_or("tcp://127.0.0.1:8002".into());
    let options = Options::new(7, 70).url(url).get_token(async |_| Ok(Some("ticket for 7".into()))); // here you ask your backend
    let (client, mut events) = Client::new(options)?;
    client.start().await;
    client.send(Target::User(8), "hello").await?;
    while let Some(event) = events.next().await {
        if let Event::Message(message) = event {
            println!("{} {}", message.from.as_ref().map_or(0, |from| from.user_id), text_of(&message));
        }
    }
    Ok(())
}
