// The benchmark's command line.

import ArgumentParser
import Foundation

@main
struct RouteBenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "RouteBench",
        abstract:
            "Measures what a worker costs per command, how long commands take, and that none is lost or called twice.",
        discussion: """
            deploy/bench/run builds everything, starts private servers and calls this program; see there. Called by itself
            it takes its servers from AMQP_URL, POSTGRES_URL and REDIS_URL, and their pids, whose use of the processor is
            to be shown, from BENCH_BROKER_PID, BENCH_POSTGRES_PID and BENCH_REDIS_PID.

            EXAMPLES
              RouteBench                                  all stores, without and with 20 ms of upstream delay
              RouteBench worker --store sqlite --queue quorum --workers 1 --workers 4
              RouteBench steady --commands 1000000        is memory flat?
              RouteBench growth --rows 10000000           does the cost grow with what is stored?
              RouteBench stores                           claims and records a second, and their cost, for each store
              RouteBench trouble                          what orgs notice of others that are in trouble
            """,
        subcommands: [
            WorkerCommand.self, SteadyCommand.self, GrowthCommand.self, StoresCommand.self, TroubleCommand.self,
        ],
        defaultSubcommand: WorkerCommand.self)
}

/// An end that the user is told about.
struct BenchFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Tells the user something on standard error; standard output is for results.
func say(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
}
