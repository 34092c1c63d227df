// What the admin port answers. No I/O.

public import Logging
import NIOHTTP1
public import PrometheusMetrics
public import RouteWorker
import WorkerLog

/// An answer in plain text.
struct AdminAnswer: Sendable, Hashable {
    var status: HTTPResponseStatus
    var contentType = "text/plain; charset=utf-8"
    /// The methods that are allowed, where another was used.
    var allow: String?
    var body: String
}

/// The pages of the admin port: `/livez`, `/readyz`, `/metrics` and `/log-level`.
public struct AdminRoutes: Sendable {
    private let board: HealthBoard
    private let gauges: GaugeBoard
    private let registry: PrometheusRegistry
    private let logger: Logger

    public init(board: HealthBoard, gauges: GaugeBoard, registry: PrometheusRegistry, logger: Logger) {
        self.board = board
        self.gauges = gauges
        self.registry = registry
        self.logger = logger
    }

    /// - Parameters:
    ///   - uri: as the client wrote it; a query is not looked at.
    ///   - body: of at most ``AdminHandler/maximumBody`` bytes.
    func answer(_ method: HTTPMethod, _ uri: String, _ body: String) -> AdminAnswer {
        let path = uri.prefix { $0 != "?" }
        let page: () -> AdminAnswer
        switch path {
        case "/livez": page = { probe("live", board.livenessProblems()) }
        case "/readyz": page = { probe("ready", board.readinessProblems()) }
        case "/metrics": page = metrics
        case "/log-level":
            if method == .PUT { return changeLevel(body) }
            page = { AdminAnswer(status: .ok, body: "\(LogThreshold.shared.level)\n") }
        case "/":
            page = { AdminAnswer(status: .ok, body: "/livez\n/readyz\n/metrics\n/log-level\n") }
        default:
            return AdminAnswer(status: .notFound, body: "there is /livez, /readyz, /metrics and /log-level\n")
        }
        guard method == .GET || method == .HEAD else {
            return AdminAnswer(status: .methodNotAllowed, allow: "GET, HEAD", body: "only GET and HEAD\n")
        }
        return page()
    }

    private func probe(_ word: String, _ problems: [String]) -> AdminAnswer {
        if problems.isEmpty { return AdminAnswer(status: .ok, body: word + "\n") }
        // What others wrote (a broker, a store) stays one line.
        let lines = problems.map { String($0.map { $0.isNewline ? " " : $0 }.prefix(500)) + "\n" }
        return AdminAnswer(status: .serviceUnavailable, body: "not \(word)\n" + lines.joined())
    }

    /// Of this process, until its configuration is read again.
    private func changeLevel(_ text: String) -> AdminAnswer {
        let word = String(text.filter { !$0.isWhitespace })
        guard let level = Logger.Level(rawValue: word) else {
            let words = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
            return AdminAnswer(status: .badRequest, body: "write one of \(words)\n")
        }
        LogThreshold.shared.level = level
        logger.notice("the log level was changed", metadata: [LogKey.level: "\(level)"])
        return AdminAnswer(status: .ok, body: "\(level)\n")
    }

    private func metrics() -> AdminAnswer {
        // By now, and not as of the last sample: there may be none any more.
        gauges.show(isLive: board.livenessProblems().isEmpty, isReady: board.readinessProblems().isEmpty)
        return AdminAnswer(
            status: .ok, contentType: "text/plain; version=0.0.4; charset=utf-8", body: registry.exposition())
    }
}
