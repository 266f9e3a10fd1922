import { render } from "preact";
import { App } from "./model/app";
import { Page } from "./views/page";
import { isChinese, text } from "./text";
import "./app.css";

document.documentElement.lang = isChinese ? "zh" : "en";
document.title = text.title;
const app = new App();
render(<Page app={app} />, document.getElementById("app")!);
void app.start();
