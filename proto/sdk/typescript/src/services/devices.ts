// The user's own device: where it is woken when it is not connected.

import type { Client, RequestOptions } from "../client.js";
import { DeviceExtService } from "../generated/logic_pb.js";

export interface DeviceFields {
  // Under which id the maker of the system, or of the browser, reaches it; empty for none. Of a page, its `PushSubscription` as JSON.
  pushId: string;
  systemVersion?: string;
  sdkVersion?: string;
}

export class Devices {
  constructor(private readonly client: Client) {}

  // Says where this device is reached from now on, and which versions run on it: what is left out is empty from then on.
  async update({ pushId, systemVersion = "", sdkVersion = "" }: DeviceFields, options?: RequestOptions): Promise<void> {
    const device = { branchPushId: pushId, systemVersion, sdkVersion };
    await this.client.rpc(DeviceExtService.method.update, { device }, { isRepeatable: true, ...options });
  }

  // The key for `applicationServerKey` when a page subscribes to Web Push; null where the server wakes no pages.
  async webPushKey(options?: RequestOptions): Promise<Uint8Array<ArrayBuffer> | null> {
    const { publicKey } = await this.client.rpc(DeviceExtService.method.getWebPushKey, {}, { isRepeatable: true, ...options });
    return publicKey.length > 0 ? new Uint8Array(publicKey) : null;
  }
}
