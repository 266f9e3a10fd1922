import { render } from "preact";
import { Model } from "./model";
import { Page } from "./views";
import { isChinese, text } from "./text";
import "./app.css";

document.documentElement.lang = isChinese ? "zh" : "en";
document.title = text.title;
render(<Page model={new Model()} />, document.getElementById("app")!);
