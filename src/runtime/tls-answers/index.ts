/** A few fixed answers over TLS, to whoever asks from this machine. */
import { createServer } from "node:https";
import { listenOn } from "../listen/index.ts";

export type FixedAnswer = {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
};

export interface FixedAnswers extends AsyncDisposable {
  readonly port: number;
}

/** Any other path is answered 404. Throws `port-in-use`, `cannot-listen`. */
export async function serveFixedAnswers(options: {
  host: string;
  /** 0: any free one. */
  port: number;
  what: string;
  keyPem: string;
  certPem: string;
  answersByPath: ReadonlyMap<string, FixedAnswer>;
}): Promise<FixedAnswers> {
  const { keyPem: key, certPem: cert, answersByPath } = options;
  const server = createServer({ key, cert, minVersion: "TLSv1.2" }, (request, response) => {
    const answer = answersByPath.get(request.url ?? "");
    request.resume();
    response.writeHead(answer ? 200 : 404, answer?.headers);
    response.end(answer?.body);
  });
  const { port } = await listenOn(server, options);
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
