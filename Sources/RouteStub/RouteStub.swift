// A fast stand-in for the Interaction Service API, for measuring what calls it: it reads no more of a request than its
// RequestId, answers always the same, and keeps count. `InteractionSandbox` knows the API's rules and costs too much here.

import ArgumentParser
import Foundation
import NIOCore
import NIOPosix

@main
struct RouteStub: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "RouteStub",
        abstract: "Answers every call with success, after a delay, and counts calls by RequestId.",
        discussion: """
            Prints its address as the first line and runs until it is ended. Beside POST and DELETE /api/v1/route:
              GET  /summary           {"requests": 3, "distinct": 2, "repeated": 1}
              GET  /calls             per RequestId 36 bytes, little-endian: RequestId, count (4), arrival and answer
                                      (8 each, nanoseconds of the machine's monotonic clock, of the last call)
              POST /reset?delay=20    forgets what was counted; answers take 20 ms from now on
              POST /refuse            every call is answered with 503 and not counted, until
              POST /accept

            EXAMPLES
              RouteStub
              RouteStub --port 8081 --delay 20
            """)

    @Option(help: "Port on 127.0.0.1; 0 takes a free one.")
    var port = 0

    @Option(help: "Milliseconds between a request and its answer.")
    var delay = 0

    func run() async throws {
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
        let delay = delay
        let desk = try await loop.submit { NIOLoopBound(StubDesk(delay: .milliseconds(Int64(delay))), eventLoop: loop) }
            .get()
        let channel = try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.backlog, value: 1024)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(StubHandler(desk: desk.value))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        FileHandle.standardOutput.write(Data("http://127.0.0.1:\(channel.localAddress?.port ?? port)\n".utf8))
        try await channel.closeFuture.get()
    }
}
