/** What form of an answer the client asks for in `Accept`, in its order of preference. Pure. */

export type MediaRange = {
  /** `application/json` */
  readonly type: string;
  readonly parameters: Readonly<Record<string, string>>;
};

export function parseAccept(header: string | undefined): readonly MediaRange[] {
  if (header === undefined || header.trim() === "") return [{ type: "*/*", parameters: {} }];
  return header.split(",").map((range) => {
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim());
    return {
      type: type.toLowerCase(),
      parameters: Object.fromEntries(
        parameters.map((parameter) => {
          const [name = "", value = ""] = parameter.split("=", 2);
          return [name.trim().toLowerCase(), value.trim().replace(/^"|"$/g, "")];
        }),
      ),
    };
  });
}

const isJson = (type: string) =>
  type === "application/json" || type === "*/*" || type === "application/*";

export type ResourceForm =
  | { readonly form: "object" }
  | { readonly form: "table"; readonly version: "v1" | "v1beta1" }
  | { readonly form: "metadata" };

/** Undefined when nothing acceptable is JSON. */
export function negotiateResource(header: string | undefined): ResourceForm | undefined {
  for (const { type, parameters } of parseAccept(header)) {
    if (!isJson(type)) continue;
    const { as, g: group, v: version } = parameters;
    if (as === undefined) return { form: "object" };
    if (group !== "meta.k8s.io") continue;
    if (as === "Table" && (version === "v1" || version === "v1beta1")) {
      return { form: "table", version };
    }
    if (/^PartialObjectMetadata(?:List)?$/.test(as) && version === "v1") {
      return { form: "metadata" };
    }
  }
  return undefined;
}

/** `v2` or `v2beta1` where aggregated discovery was asked for; clients break on the other version. */
export function negotiateDiscovery(
  header: string | undefined,
):
  | { readonly form: "plain" }
  | { readonly form: "aggregated"; readonly version: string }
  | undefined {
  for (const { type, parameters } of parseAccept(header)) {
    if (!isJson(type)) continue;
    const { as, g: group, v: version } = parameters;
    if (as === undefined) return { form: "plain" };
    if (as !== "APIGroupDiscoveryList" || group !== "apidiscovery.k8s.io") continue;
    if (version === "v2" || version === "v2beta1") return { form: "aggregated", version };
  }
  return undefined;
}

export function acceptsGzip(header: string | string[] | undefined): boolean {
  return parseAccept(String(header ?? "identity")).some(
    ({ type, parameters }) => type === "gzip" && Number(parameters["q"] ?? "1") > 0,
  );
}
