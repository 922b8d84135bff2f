import * as React from "react";
import type { FC, ReactNode } from "react";

/** About Props. */
interface Props<T> extends React.HTMLAttributes<T> {
  items: T[];
  render(item: T): ReactNode;
  onPick?: (item: T) => void;
}

type State = { kind: "on" } | { kind: "off"; reason(): string };

enum Size { Small, Large }

// About useToggle.
export function useToggle(initial = false): [boolean, () => void] {
  const [on, set] = React.useState(initial);
  const toggle = React.useCallback(() => set((was) => !was), []);
  const flip = () => {
    set(true);
  };
  function reset(): void { set(initial); }
  return [on, toggle];
}

export function List<T,>({ items, render }: Props<T>) {
  const row = (item: T) => <li key={String(item)}>{render(item)}</li>;
  return (
    <ul>
      {/* a comment in JSX */}
      {items.map((item) => row(item))}
      {items.map(function named(item) { return <Row<T> item={item} />; })}
    </ul>
  );
}

export const Button: FC<{ label: string }> = ({ label, ...rest }) => (
  <button
    {...rest}
    onClick={() => {
      function onPick() {}
      class InHandler { run() {} }
    }}
  >
    {label}
  </button>
);

const Wrapped = React.memo(() => <Button label="x" />);
const Anonymous = function () { return <></>; };
const Generic = <T extends object>(props: Props<T>) => <List {...props} />;
const async1 = async <T,>(x: T): Promise<T> => x;

export abstract class Screen<P = {}> extends React.Component<P, State> {
  static defaultProps: Partial<Props<string>> = {};
  state: State = { kind: "on" };
  private ref = React.createRef<HTMLDivElement>();

  constructor(props: P) {
    super(props);
  }

  abstract title(): string;
  protected subtitle?(): string;

  // About handleClick.
  handleClick = (): void => {
    const inner = () => this.setState({ kind: "on" });
    inner();
  };

  @memoised
  get element(): JSX.Element { return <div ref={this.ref} />; }
  set element(value) {}

  #secret = () => 1;
  static async load() { return import("./screen"); }

  renderRow(item: string): JSX.Element;
  renderRow(item: number): JSX.Element;
  renderRow(item: any) {
    return <Row.Cell item={item}>{() => { const inChild = () => 1; }}</Row.Cell>;
  }

  render() {
    return (
      <Layout.Main title={this.title()}>
        <this.props.Header />
        {this.state.kind === "on" && <List items={[1]} render={(i) => <b>{i}</b>} />}
      </Layout.Main>
    );
  }
}

export class Home extends Screen {
  title() { return "home"; }
  Footer = class extends React.Component {
    render() { return null; }
  };
}

namespace Parts {
  export const Header = () => <h1>&amp; text</h1>;
  export namespace Nested { export const Cell = function () { return null; }; }
}

declare module "*.svg" {
  export const ReactComponent: FC;
}

declare global {
  namespace JSX {
    interface IntrinsicElements { "my-element": { method(): void } }
  }
}

export function overloaded(a: string): void;
export function overloaded(a: number): void;
export function overloaded(a: unknown) {}

const satisfied = { method() {} } satisfies Record<string, unknown>;
export const context = (() => React.createContext(null)) as () => unknown;
let one = () => <a href="x" />, two = 2, three = class { m() {} };

/** About the page. */
export default function ({ children }: { children: ReactNode }) {
  const local = () => <p>{children}</p>;
  return <main>{local()}</main>;
}
