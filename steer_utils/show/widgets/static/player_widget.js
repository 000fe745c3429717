// The player as a widget: one engine a model, which its views share.

export default () => {
  let engine = null; // of this model; its views share it
  return {
    initialize({ model }) {
      engine = createEngine(model);
      return () => engine.close();
    },
    render({ model, el }) {
      return createView(model, el, engine);
    },
  };
};
