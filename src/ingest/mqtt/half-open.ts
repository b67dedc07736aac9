/**
 * aedes keeps a QoS 2 message between PUBREC and PUBREL only to know its identifier again
 * (MQTT-4.3.3-2): it was passed on before the PUBREC. Its payload is let go here, so that half-open
 * messages cannot fill the memory.
 */
import type { Aedes } from "aedes";

type Persistence = {
  incomingStorePacket(client: unknown, packet: { payload: unknown }): Promise<unknown>;
};

const nothing = Buffer.alloc(0);

export function keepNoPayloads(broker: Aedes): void {
  const { persistence } = broker as unknown as { persistence: Persistence };
  const store = persistence.incomingStorePacket.bind(persistence);
  persistence.incomingStorePacket = (client, packet) =>
    store(client, { ...packet, payload: nothing });
}
