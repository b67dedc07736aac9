/** An answer of the gateway: of a refusal there is `error`, else what the route says. */
export type GatewayAnswer = {
  readonly status: number;
  readonly headers: Headers;
  readonly body: {
    readonly [field: string]: unknown;
    readonly error: { readonly code: string; readonly message: string; readonly hint: string };
  };
};

export async function gatewayAnswer(response: Response): Promise<GatewayAnswer> {
  const body = (await response.json()) as GatewayAnswer["body"];
  return { status: response.status, headers: response.headers, body };
}
