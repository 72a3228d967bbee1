// What `import "wflo"` means, and which files were imported. Runs beside the modules that it loads for
// (`module.register`), or in their thread where Node can (`module.registerHooks`).

const FLUSH = "wflo:imported?";
let own;
let tell;

/** `own` is the SDK's file; `port` hears of each file that was resolved. */
export function initialize({ sdk, port }) {
  own = sdk;
  tell = (message) => port.postMessage(message);
}

export async function resolve(specifier, context, next) {
  if (specifier.startsWith(FLUSH)) {
    tell({ flush: specifier });
    return { url: "data:text/javascript,", format: "module", shortCircuit: true };
  }
  if (specifier === "wflo") {
    return { url: own, format: "module", shortCircuit: true };
  }
  const found = await next(specifier, context);
  tell({ url: found.url });
  return found;
}
