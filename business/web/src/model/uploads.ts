// Files that are on their way to the server, and become messages when they are there.

import type { Target } from "gim-client";
import { text } from "../text";
import type { Chat } from "./chat";
import { measure, waveformOf } from "./media";
import { keyOf } from "./route";

export interface Upload {
  target: Target;
  name: string;
  // From 0 to 1.
  part: number;
  // Why it ended; it stays until it is taken away.
  problem: string;
  stop: () => void;
}

// What is more is not begun.
const UPLOADS_MAX = 20;

export class Uploads {
  private readonly all = new Set<Upload>();

  constructor(private readonly chat: Chat) {}

  of(target: Target): Upload[] {
    return [...this.all].filter((upload) => keyOf(upload.target) === keyOf(target));
  }

  // `isVoice`: what was said into the page, and not a file with sound.
  begin(target: Target, files: Iterable<File>, isVoice = false): void {
    for (const file of files) {
      if (this.all.size >= UPLOADS_MAX) return this.chat.say(text.tooManyUploads);
      void this.run(target, file, isVoice);
    }
  }

  private async run(target: Target, file: File, isVoice: boolean): Promise<void> {
    const ending = new AbortController();
    const upload: Upload = { target, name: file.name, part: 0, problem: "", stop: () => { ending.abort(); this.end(upload); } };
    this.all.add(upload);
    this.chat.changed();
    const onPart = (part: number) => { upload.part = part; this.chat.changed(); };
    try {
      const send = await this.messageOf(target, file, isVoice, onPart, ending.signal);
      if (ending.signal.aborted) return;
      this.end(upload);
      send();
    } catch (error) {
      if (ending.signal.aborted) return;
      upload.problem = error instanceof Error ? error.message : String(error);
      this.chat.changed();
    }
  }

  private end(upload: Upload): void {
    this.all.delete(upload);
    this.chat.changed();
  }

  // What a file is says the server, who looks into it.
  private async messageOf(target: Target, file: File, isVoice: boolean, onPart: (part: number) => void, signal: AbortSignal): Promise<() => void> {
    const { outgoing, files } = this.chat;
    const local = URL.createObjectURL(file);
    try {
      const length = /^(audio|video)\//.test(file.type) ? await measure(isVoice ? "audio" : "video", local).catch(() => null) : null;
      const waveform = isVoice ? await waveformOf(file).catch(() => new Uint8Array()) : new Uint8Array();
      const { file_id: fileId, kind, size_bytes, name, width = 0, height = 0 } = await files.upload(file, file.name, onPart, signal);
      const media = { fileId, mediaType: kind, sizeBytes: BigInt(size_bytes) };
      if (isVoice) return () => outgoing.send(target, "voice", { media, durationMs: Math.max(1, length?.durationMs ?? 1), waveform });
      if (kind === "image/gif") return () => outgoing.send(target, "gif", { media, width, height });
      if (kind.startsWith("image/")) return () => outgoing.send(target, "image", { media, width, height });
      if (kind.startsWith("video/") && length) return () => outgoing.send(target, "video", { media, ...length });
      return () => outgoing.send(target, "file", { media, name: name || file.name || fileId });
    } finally {
      URL.revokeObjectURL(local);
    }
  }
}
