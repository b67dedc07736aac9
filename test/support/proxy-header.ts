/** PROXY protocol version 2, as a balancer writes it. */
export function proxyHeader(
  of: { address: string; port: number; kind?: number; command?: number },
  fields: Uint8Array = new Uint8Array(),
): Buffer {
  const { address, port, kind = 0x11, command = 1 } = of;
  const ports = Buffer.from([port >> 8, port & 255, 1, 187]);
  const groups = address.split(":").flatMap((group) => {
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 255];
  });
  const addresses: Record<number, Buffer> = {
    0x00: Buffer.alloc(0),
    0x11: Buffer.from([...address.split(".").map(Number), 10, 0, 0, 1, ...ports]),
    0x21: Buffer.concat([Buffer.from(groups), Buffer.alloc(16), ports]),
  };
  const block = Buffer.concat([addresses[kind] ?? Buffer.alloc(0), fields]);
  const head = Buffer.from([0x20 | command, kind, block.length >> 8, block.length & 255]);
  return Buffer.concat([Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1"), head, block]);
}
