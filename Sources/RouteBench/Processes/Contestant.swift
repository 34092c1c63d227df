// Who is measured: the worker with one of its stores, the plain C reference, the worker in Go.

import Foundation

/// A program that does the job.
enum Contestant: Sendable, Hashable {
    case worker(StoreKind)
    /// No dedupe: what a program without promises would cost.
    case reference
    case go

    var name: String {
        switch self {
        case .worker(let store): "route-worker, \(store.rawValue)"
        case .reference: "C, no store"
        case .go: "Go, redis"
        }
    }

    /// Whose server's processor time is shown beside.
    var store: StoreKind? {
        switch self {
        case .worker(let store): store
        case .reference: nil
        case .go: .redis
        }
    }
}

/// The programs.
struct Programs: Sendable {
    var worker: String
    var stub: String
    var reference: String?
    var go: String?
}

/// What a contestant is told.
struct Assignment: Sendable {
    var commands: String
    var results: String
    var deadLetters: String
    /// Where the API of each org is.
    var orgs: [(id: String, url: String)]
    var concurrency: Int
    var storeURL: String?

    /// Starts one process of a contestant.
    func start(_ contestant: Contestant, _ programs: Programs, _ servers: Servers, _ folder: BenchFolder) throws
        -> Child
    {
        let log = folder.newPath("log")
        switch contestant {
        case .worker:
            let file = folder.newPath("worker.yaml")
            try configuration(servers).write(toFile: file, atomically: false, encoding: .utf8)
            return try Child(
                contestant.name, programs.worker, ["run", "--config", file],
                environment: ["BENCH_TOKEN": "bench-token"],
                logFile: log)
        case .reference:
            guard let program = programs.reference else { throw BenchFailure("--reference names no program") }
            return try Child(contestant.name, program, [], environment: environment(servers), logFile: log)
        case .go:
            guard let program = programs.go else { throw BenchFailure("--go names no program") }
            return try Child(contestant.name, program, [], environment: environment(servers), logFile: log)
        }
    }

    private func configuration(_ servers: Servers) throws -> String {
        """
        amqp: {url: "\(servers.amqpURL)"}
        worker: {concurrency: \(concurrency)}
        controls: {enabled: false}
        queues: {"\(commands)": {}}
        commands: {replayQueue: "\(commands)"}
        answers: {queue: "\(results)", deadLetterQueue: "\(deadLetters)"}
        store: {url: "\(storeURL ?? "memory:")"}
        http: {maximumConnections: \(concurrency)}
        defaults: {tokenEnvironment: BENCH_TOKEN}
        orgs:
        \(orgs.enumerated().map { #"  bench\#($0): {id: \#($1.id), baseURL: "\#($1.url)"}"# }.joined(separator: "\n"))
        """
    }

    private func environment(_ servers: Servers) -> [String: String] {
        [
            "AMQP_URL": servers.amqpURL, "COMMANDS_QUEUE": commands, "RESULTS_QUEUE": results,
            "DEAD_LETTER_QUEUE": deadLetters, "API_URL": orgs[0].url, "API_TOKEN": "bench-token",
            "CONCURRENCY": String(concurrency), "REDIS_URL": servers.redisURL ?? "",
        ]
    }
}
