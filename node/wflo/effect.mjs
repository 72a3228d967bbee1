// A promise that knows whether anybody ever looked at it.

/** What an effect returns. `await` on it, or anything else that asks for its result, is noticed. */
export class Effect extends Promise {
  /** Called when it is awaited. */
  onAwait;

  static get [Symbol.species]() {
    return Promise;
  }

  then(onDone, onFailed) {
    this.onAwait?.();
    return super.then(onDone, onFailed);
  }
}
