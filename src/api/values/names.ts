/** Names as Kubernetes allows them (RFC 1123 and k8s.io/apimachinery `validation`). */

const label = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;
const subdomain = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;
const qualified = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

/** Each answers what is wrong with the text, or undefined when it is right. */
export function dnsLabelProblem(text: string): string | undefined {
  if (text.length > 63)
    return `"${text}" is ${text.length} characters long, at most 63 are allowed`;
  return label.test(text)
    ? undefined
    : `"${text}" must be lower case letters, digits and "-", starting and ending with a letter or digit`;
}

export function dnsSubdomainProblem(text: string): string | undefined {
  if (text.length > 253)
    return `a name of ${text.length} characters is too long, at most 253 are allowed`;
  return subdomain.test(text)
    ? undefined
    : `"${text}" must be lower case letters, digits, "-" and ".", each part starting and ending with a letter or digit`;
}

/** `app.kubernetes.io/name`: an optional subdomain, then a name of at most 63 characters. */
export function labelKeyProblem(key: string): string | undefined {
  const slash = key.indexOf("/");
  const prefix = slash < 0 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix !== undefined && dnsSubdomainProblem(prefix) !== undefined)
    return `"${key}": the part before "/" must be a DNS name`;
  return name.length <= 63 && qualified.test(name)
    ? undefined
    : `"${key}" must be at most 63 letters, digits, "-", "_" and ".", starting and ending with a letter or digit`;
}

export function labelValueProblem(value: string): string | undefined {
  return value === "" || (value.length <= 63 && qualified.test(value))
    ? undefined
    : `"${value}" must be empty or at most 63 letters, digits, "-", "_" and ".", starting and ending with a letter or digit`;
}
