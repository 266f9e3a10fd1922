// What is said into the page's microphone.

const LONGEST_MS = 300_000;

export class Recorder {
  private readonly parts: Blob[] = [];
  readonly fromMs = Date.now();

  private constructor(
    private readonly stream: MediaStream,
    private readonly recorder: MediaRecorder,
    // When it has been said enough.
    onLongest: () => void,
  ) {
    recorder.ondataavailable = ({ data }) => { this.parts.push(data); };
    recorder.start();
    setTimeout(() => { if (recorder.state === "recording") onLongest(); }, LONGEST_MS);
  }

  // Fails where the user does not allow it, or there is no microphone.
  static async begin(onLongest: () => void): Promise<Recorder> {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    return new Recorder(stream, new MediaRecorder(stream), onLongest);
  }

  async end(): Promise<File> {
    const { recorder } = this;
    if (recorder.state !== "inactive") {
      await new Promise((resolve) => { recorder.onstop = resolve; recorder.stop(); });
    }
    this.leave();
    return new File(this.parts, "voice", { type: recorder.mimeType.split(";")[0]! });
  }

  leave(): void {
    if (this.recorder.state !== "inactive") this.recorder.stop();
    for (const track of this.stream.getTracks()) track.stop();
  }
}
