// Files that are on their way to the server, and become messages when they are there.

import type { Target } from "gim-client";
import { FileRefused } from "gim-client/files";
import { text } from "../text";
import type { Chat } from "./chat";
import { measure, waveformOf } from "./media";
import { keyOf } from "./route";

export interface Upload {
  target: Target;
  name: string;
  // From 0 to 1.
  part: number;
  // Why it rests; it stays until it goes on or is taken away.
  problem: string;
  stop: () => void;
  // Goes on with what is there.
  again: () => void;
}

// What is more is not begun.
const UPLOADS_MAX = 20;

export class Uploads {
  private readonly all = new Set<Upload>();

  constructor(private readonly chat: Chat) {
    // What rests because there was no network goes on when there is one.
    window.addEventListener("online", () => { for (const upload of this.all) upload.again(); });
  }

  of(target: Target): Upload[] {
    return [...this.all].filter((upload) => keyOf(upload.target) === keyOf(target));
  }

  // `isVoice`: what was said into the page, and not a file with sound.
  begin(target: Target, files: Iterable<File>, isVoice = false): void {
    for (const file of files) {
      if (this.all.size >= UPLOADS_MAX) return this.chat.say(text.tooManyUploads);
      const ending = new AbortController();
      const begun = { url: "" };
      const run = () => void this.run(upload, file, isVoice, begun, ending.signal);
      const upload: Upload = {
        target, name: file.name, part: 0, problem: "",
        stop: () => { ending.abort(); this.chat.files.giveUp(begun); this.end(upload); },
        again: () => { if (upload.problem !== "") run(); },
      };
      this.all.add(upload);
      run();
    }
  }

  private async run(upload: Upload, file: File, isVoice: boolean, begun: { url: string }, signal: AbortSignal): Promise<void> {
    upload.problem = "";
    this.chat.changed();
    const onPart = (part: number) => { upload.part = part; this.chat.changed(); };
    try {
      const send = await this.messageOf(upload.target, file, isVoice, begun, onPart, signal);
      if (signal.aborted) return;
      this.end(upload);
      send();
    } catch (error) {
      if (signal.aborted) return;
      upload.problem = error instanceof Error ? error.message : String(error);
      // What the server does not have any more begins anew.
      if (error instanceof FileRefused && error.status === 404) begun.url = "";
      this.chat.changed();
    }
  }

  private end(upload: Upload): void {
    this.all.delete(upload);
    this.chat.changed();
  }

  // What a file is says the server, who looks into it.
  private async messageOf(target: Target, file: File, isVoice: boolean, begun: { url: string }, onPart: (part: number) => void, signal: AbortSignal): Promise<() => void> {
    const { outgoing, files } = this.chat;
    const local = URL.createObjectURL(file);
    try {
      const length = /^(audio|video)\//.test(file.type) ? await measure(isVoice ? "audio" : "video", local).catch(() => null) : null;
      const waveform = isVoice ? await waveformOf(file).catch(() => new Uint8Array()) : new Uint8Array();
      const { file_id: fileId, kind, size_bytes, name, width = 0, height = 0 } = await files.upload(file, file.name, begun, onPart, signal);
      const media = { fileId, mediaType: kind, sizeBytes: BigInt(size_bytes) };
      if (isVoice) return () => outgoing.send(target, "voice", { media, durationMs: Math.max(1, length?.durationMs ?? 1), waveform });
      // The server knows the size of what browsers show; they cannot show HEIC, say.
      const isPicture = kind.startsWith("image/") && width > 0;
      if (kind === "image/gif" && isPicture) return () => outgoing.send(target, "gif", { media, width, height });
      if (isPicture) return () => outgoing.send(target, "image", { media, width, height });
      if (kind.startsWith("video/") && length) return () => outgoing.send(target, "video", { media, ...length });
      return () => outgoing.send(target, "file", { media, name: name || file.name || fileId });
    } finally {
      URL.revokeObjectURL(local);
    }
  }
}
