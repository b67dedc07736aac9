/**
 * `node:http` without what it drags along: an ES import of it reads every export, its lazy `WebSocket`
 * and its like among them, and so loads Node's own copy of undici. That costs each isolate about 6 MB;
 * the module itself costs 1 MB.
 */
export const { createServer, request, ServerResponse, STATUS_CODES } =
  process.getBuiltinModule("node:http");

/** The body of a plain HTTP answer from this machine. Throws what the socket throws, or its status. */
export function getText(url: string, options: { timeoutMs: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false, timeout: options.timeoutMs }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("error", reject).on("end", () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${url}: HTTP status ${response.statusCode}`));
      });
    });
    asked.on("timeout", () =>
      asked.destroy(new Error(`${url}: no answer within ${options.timeoutMs} ms`)),
    );
    asked.on("error", reject).end();
  });
}
