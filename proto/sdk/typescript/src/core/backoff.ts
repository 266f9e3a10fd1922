// Waits that double, each a random time between half of it and all of it.

export class Backoff {
  private failures = 0;

  constructor(
    public firstMs: number,
    public maxMs: number,
    private readonly random: () => number,
  ) {}

  next(): number {
    const wait = Math.min(this.firstMs * 2 ** Math.min(this.failures, 30), this.maxMs);
    this.failures += 1;
    return Math.round(wait / 2 + (this.random() * wait) / 2);
  }

  reset(): void {
    this.failures = 0;
  }
}
