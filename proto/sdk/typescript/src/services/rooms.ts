// Who is in rooms. Entering one and leaving it belong to the connection: `Client.enterRoom`, `Client.leaveRoom`.

import type { Client, RequestOptions } from "../client.js";
import { RoomExtService } from "../generated/logic_pb.js";
import type { Id } from "../wire.js";

export class Rooms {
  constructor(private readonly client: Client) {}

  // How many connections are in each of at most 100 rooms, in the order of these: as it was about two seconds ago at most.
  async countMembers(roomIds: Id[], options?: RequestOptions): Promise<number[]> {
    const { rooms } = await this.client.rpc(RoomExtService.method.countMembers, { roomIds: roomIds.map(BigInt) }, options);
    return rooms.map(({ members }) => Number(members));
  }
}
