// PostgreSQL's own client, for what the store itself never does.

import Foundation

enum Psql {
    static func run(_ sql: String, at url: String) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["psql", url, "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql]
        process.standardInput = FileHandle.nullDevice
        // Notices of what is dropped, on standard error with the errors.
        process.environment = ProcessInfo.processInfo.environment.merging(
            ["PGOPTIONS": "-c client_min_messages=warning"]) { $1 }
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw BenchFailure("psql failed, see above") }
    }
}
