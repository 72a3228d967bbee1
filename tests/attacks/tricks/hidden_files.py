"""Files of the workspace that no sandbox is to see: .env, keys, credentials of git; by name, by link, after a rename"""

import os
from pathlib import Path

from attack import Host, Setup
from attack import Trick as Base


class Trick(Base):
    area = "files"

    def prepare(self, host: Host) -> Setup:
        folder = host.dir("workspace")
        for name in (".env", "sub/.env.local", "id_rsa", ".netrc"):
            host.file(f"workspace/{name}", f"SECRET={host.token}\n")
        host.file("workspace/sub/deep/.npmrc", f"//example.com/:_authToken={host.token}\n")
        config = f'[remote "o"]\n\turl = https://u:{host.token}@example.com/x\n'
        host.file("workspace/.git/config", config)
        host.file("workspace/.git/HEAD", "ref: refs/heads/main\n")
        os.link(folder / ".env", folder / "harmless.txt")
        (folder / "link").symlink_to(".env")
        setup = Setup(str(folder))
        setup.workspace = folder
        return setup

    def inside(self, folder: str) -> None:
        try:
            os.rename(f"{folder}/sub", f"{folder}/moved")
        except OSError as error:
            print(error)
        for name in (".env", "id_rsa"):
            for attempt in (lambda n=name: os.unlink(f"{folder}/{n}"), lambda n=name: os.mkdir(f"{folder}/{n}")):
                try:
                    attempt()
                except OSError as error:
                    print(error)
        for place in Path(folder).rglob("*"):
            try:
                print(place, place.read_text())
            except OSError as error:
                print(place, error)
