/**
 * One look at a listener, as kubelet's probes do it: HTTP answers from 200 to 399 and accepted TCP
 * connections are a success. What a probe finds is a value: a failing probe is an expected outcome.
 */
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { request as httpRequest } from "../node-http/index.ts";

export type ProbeOutcome = { readonly ok: boolean; readonly message: string };

export type HttpProbe = {
  readonly scheme: "HTTP" | "HTTPS";
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly headers?: readonly { readonly name: string; readonly value: string }[];
};

/** GET without keep-alive. A certificate is not verified (Kubernetes: HTTPS probes skip it). */
export function probeHttp(
  target: HttpProbe,
  options: { timeoutMs: number },
): Promise<ProbeOutcome> {
  const url = `${target.scheme.toLowerCase()}://${target.host}:${target.port}${target.path}`;
  return new Promise((resolve) => {
    const request = (target.scheme === "HTTPS" ? httpsRequest : httpRequest)({
      host: target.host,
      port: target.port,
      path: target.path,
      agent: false,
      headers: {
        "user-agent": "skerry-probe",
        accept: "*/*",
        connection: "close",
        ...Object.fromEntries((target.headers ?? []).map(({ name, value }) => [name, value])),
      },
      ...(target.scheme === "HTTPS" ? { rejectUnauthorized: false } : {}),
    });
    const timer = setTimeout(() => {
      finish({ ok: false, message: `${url}: no answer within ${options.timeoutMs} ms` });
    }, options.timeoutMs);
    const finish = (outcome: ProbeOutcome) => {
      clearTimeout(timer);
      resolve(outcome);
      request.destroy();
    };
    request.on("response", (response) => {
      const status = response.statusCode ?? 0;
      response.resume();
      const ok = status >= 200 && status < 400;
      finish({ ok, message: `${url}: HTTP status ${status}` });
    });
    request.on("error", (error) => finish({ ok: false, message: `${url}: ${error.message}` }));
    request.end();
  });
}

export function probeTcp(
  target: { readonly host: string; readonly port: number },
  options: { timeoutMs: number },
): Promise<ProbeOutcome> {
  const name = `${target.host}:${target.port}`;
  return new Promise((resolve) => {
    const socket = connect({ host: target.host, port: target.port });
    const timer = setTimeout(() => {
      finish({ ok: false, message: `${name}: not connected within ${options.timeoutMs} ms` });
    }, options.timeoutMs);
    const finish = (outcome: ProbeOutcome) => {
      clearTimeout(timer);
      resolve(outcome);
      socket.destroy();
    };
    socket.on("connect", () => finish({ ok: true, message: `${name}: connected` }));
    socket.on("error", (error) => finish({ ok: false, message: `${name}: ${error.message}` }));
  });
}
