// The player as a widget: one engine a model, which its views share.

export default () => {
  let engine = null; // of this model; its views share it
  return {
    initialize({ model }) {
      engine = createEngine(model);
      return () => engine.close();
    },
    render({ model, el }) {
      el.classList.add("steer-live"); // hides the static twin above it (player.css)
      return createView(model, el, engine);
    },
  };
};
