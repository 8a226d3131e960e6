"""An MCP server on the SDK with an app: a tool, and the page that shows what it says."""

from mcp.server import MCPServer
from mcp.server.apps import Apps, ResourceCsp, client_supports_apps
from mcp.server.mcpserver import Context

PAGE = "ui://clock/app.html"
HTML = "<!doctype html><title>What time is it?</title>"
apps = Apps()


@apps.tool(resource_uri=PAGE, description="The time", visibility=["model", "app"])
def tell(ctx: Context) -> str:
    return "12:00, on a page" if client_supports_apps(ctx) else "12:00"


apps.add_html_resource(PAGE, HTML, csp=ResourceCsp(connect_domains=["https://example.com"]))
server = MCPServer("clock", extensions=[apps])

if __name__ == "__main__":
    server.run("stdio")
