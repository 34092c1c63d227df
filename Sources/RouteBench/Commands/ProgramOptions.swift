// Where the programs are.

import ArgumentParser
import Foundation

/// Which programs are run; those of this package stand beside the benchmark itself.
struct ProgramOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The worker; beside this program by default.", valueName: "path"))
    var worker: String?

    @Option(help: ArgumentHelp("The stub of the API; beside this program by default.", valueName: "path"))
    var stub: String?

    func programs(reference: String? = nil, go: String? = nil) throws -> Programs {
        let folder = Bundle.main.executableURL?.deletingLastPathComponent()
        func find(_ given: String?, _ name: String) throws -> String {
            let path = given ?? folder?.appendingPathComponent(name).path ?? name
            guard FileManager.default.isExecutableFile(atPath: path) else {
                throw BenchFailure("there is no program \(path); run `deploy/lib/release route-worker RouteStub` first")
            }
            return path
        }
        return Programs(
            worker: try find(worker, "route-worker"), stub: try find(stub, "RouteStub"), reference: reference, go: go)
    }

    /// Starts the stub, runs `body`, and ends the stub.
    func withBench(
        reference: String? = nil, go: String? = nil, _ body: (Bench) async throws -> Void
    ) async throws {
        let programs = try programs(reference: reference, go: go)
        let folder = try BenchFolder()
        let stub = try await Stub(program: programs.stub, logFile: folder.newPath("stub.log"))
        try await body(Bench(servers: try Servers(), programs: programs, folder: folder, stub: stub))
        try await stub.stop()
    }
}
