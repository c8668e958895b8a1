/**
 * The one store: everything on the screen is a function of `state`.
 *
 * Data flows one way: the protocol (`chat.js`) changes the state, views are called with it, and what the user does
 * becomes a call to `chat.js` again. However many changes one moment brings, the views run once, when `schedule` says.
 */
export function createStore(state, schedule) {
  const views = [];
  let scheduled = false;

  function render() {
    scheduled = false;
    for (const view of views) view(state);
  }

  return {
    state,
    change(mutate) {
      mutate(state);
      if (scheduled) return;
      scheduled = true;
      schedule(render);
    },
    show(view) {
      views.push(view);
      view(state);
    },
  };
}
